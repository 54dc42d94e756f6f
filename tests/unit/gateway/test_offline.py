"""The offline model's rules: phrasings in, tool calls or words out."""

import json
from typing import Any

import pytest

from adapters.gateway.offline.dialogue import OfflineCall, OfflineReply, reply
from adapters.gateway.offline.schema import instance

TOOLS = {"add_task", "list_tasks", "complete_task", "delete_task", "update_task"}
MILK = {"number": 1, "title": "buy milk", "completed": False}
MUM = {"number": 2, "title": "call mum", "completed": True}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def round_of(*exchanges: tuple[OfflineCall, Any]) -> list[dict[str, Any]]:
    """Return an assistant's tool calls and their results."""
    calls = [
        {"id": f"c{n}", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
        for n, (call, _) in enumerate(exchanges)
    ]
    results = [
        {
            "role": "tool",
            "tool_call_id": f"c{n}",
            "content": r if isinstance(r, str) else json.dumps(r),
        }
        for n, (_, r) in enumerate(exchanges)
    ]
    return [{"role": "assistant", "content": None, "tool_calls": calls}, *results]


def add(title: str) -> OfflineCall:
    return OfflineCall("add_task", {"title": title})


def tasks(status: str | None = None) -> OfflineCall:
    return OfflineCall("list_tasks", {"status": status} if status else {})


def complete(number: int) -> OfflineCall:
    return OfflineCall("complete_task", {"number": number})


def delete(number: int) -> OfflineCall:
    return OfflineCall("delete_task", {"number": number})


def update(number: int, title: str) -> OfflineCall:
    return OfflineCall("update_task", {"number": number, "title": title})


PHRASES: list[tuple[str, list[OfflineCall]]] = [
    ("Add task buy milk", [add("buy milk")]),
    ("add buy milk to my list", [add("buy milk")]),
    ("Please add 'buy milk' to my todo list.", [add("buy milk")]),
    ("remind me to call mum", [add("call mum")]),
    ("Can you remind me about the dentist?", [add("the dentist")]),
    ("add a task: buy milk", [add("buy milk")]),
    ("Add a new task to water the plants", [add("water the plants")]),
    ("create a task called pay rent", [add("pay rent")]),
    ('Create task "write report"', [add("write report")]),
    ("add buy bread and butter", [add("buy bread and butter")]),
    ("Could you put eggs on my list please?", [add("eggs")]),
    ("new task: fix the bike", [add("fix the bike")]),
    ("I need to buy a present", [add("buy a present")]),
    ("todo: call Bob", [add("call Bob")]),
    ("Add buy milk as a task", [add("buy milk")]),
    ("Don't let me forget to lock the door", [add("lock the door")]),
    ("Hey, I'd like to add a task: read a book", [add("read a book")]),
    ("add task call mum and dad", [add("call mum and dad")]),
    ("Add tasks: milk, bread and eggs", [add("milk"), add("bread"), add("eggs")]),
    ("add task a and add task b", [add("a"), add("b")]),
    ("add finish the report to my tasks", [add("finish the report")]),
    ("List my tasks", [tasks()]),
    ("show my todo list", [tasks()]),
    ("Show me all my tasks, please", [tasks()]),
    ("What's on my to-do list today?", [tasks()]),
    ("what are my tasks", [tasks()]),
    ("my tasks", [tasks()]),
    ("tasks?", [tasks()]),
    ("how many tasks do I have?", [tasks()]),
    ("do I have any tasks?", [tasks()]),
    ("what do I have to do", [tasks("pending")]),
    ("What's left to do?", [tasks("pending")]),
    ("what's pending", [tasks("pending")]),
    ("show pending tasks", [tasks("pending")]),
    ("Which tasks are still open?", [tasks("pending")]),
    ("what's done", [tasks("completed")]),
    ("What have I finished?", [tasks("completed")]),
    ("list completed tasks", [tasks("completed")]),
    ("Mark task 1 as done", [complete(1)]),
    ("mark 1 as complete", [complete(1)]),
    ("mark task #2 done", [complete(2)]),
    ("mark as done task 3", [complete(3)]),
    ("complete task 2", [complete(2)]),
    ("finish 3", [complete(3)]),
    ("Please finish task three", [complete(3)]),
    ("check off task 1", [complete(1)]),
    ("Task 2 is done", [complete(2)]),
    ("I've finished task 4!", [complete(4)]),
    ("complete tasks 1, 2 and 3", [complete(1), complete(2), complete(3)]),
    ("set task 1 to completed", [complete(1)]),
    ("Delete task 3", [delete(3)]),
    ("remove task 2", [delete(2)]),
    ("remove task number 4 from my list", [delete(4)]),
    ("get rid of task 1", [delete(1)]),
    ("delete tasks 1 and 2", [delete(1), delete(2)]),
    ("could you please erase task 5", [delete(5)]),
    ("Update task 2 title to groceries", [update(2, "groceries")]),
    ("update the title of task 2 to groceries", [update(2, "groceries")]),
    ("rename task 2 to groceries", [update(2, "groceries")]),
    ("change task 2 to buy oat milk", [update(2, "buy oat milk")]),
    ('Change the title of task 2 to "groceries".', [update(2, "groceries")]),
    ("edit task 3: feed the cat", [update(3, "feed the cat")]),
    ("task 2 should be groceries", [update(2, "groceries")]),
    ("change task 2's title to groceries", [update(2, "groceries")]),
    ("complete task 1 and delete task 2", [complete(1), delete(2)]),
    ("Complete task 1, delete task 2 and add task x", [complete(1), delete(2), add("x")]),
    ("rename task 1 to bread and delete task 2", [update(1, "bread"), delete(2)]),
    ("add milk, then show my tasks", [add("milk"), tasks()]),
    ("complete the milk task", [tasks()]),
    ("delete the first task", [tasks()]),
    ("delete all completed tasks", [tasks()]),
]
CHAT = [
    ("hello", "Hello"),
    ("Thanks!", "welcome"),
    ("what can you do?", "not a language model"),
    ("what is the weather like?", "OPENAI_API_KEY"),
    ("make me a sandwich", "PERDURE_MODEL"),
    ("count to 5", "1, 2, 3, 4, 5"),
    ("Please count to 900", "199, 200"),
    ("what's my name?", "not told me"),
    ("what did I just say?", "first message"),
    ("My name is Ada", "Ada"),
]


class TestCommands:
    @pytest.mark.parametrize(("text", "calls"), PHRASES)
    def test_a_phrase_becomes_tool_calls(self, text: str, calls: list[OfflineCall]) -> None:
        assert reply([user(text)], TOOLS) == OfflineReply(calls=tuple(calls))

    def test_tools_are_only_called_if_offered(self) -> None:
        said = reply([user("delete task 1")], {"list_tasks"})

        assert said.calls == ()
        assert "not available" in said.text

    @pytest.mark.parametrize(
        ("text", "calls"),
        [
            ("complete the milk task", [complete(1)]),
            ("mark buy milk as done", [complete(1)]),
            ("delete the mum one", [delete(2)]),
            ("delete the last task", [delete(2)]),
            ("delete all completed tasks", [delete(2)]),
            ("delete all tasks", [delete(1), delete(2)]),
            ("rename the milk task to buy oat milk", [update(1, "buy oat milk")]),
        ],
    )
    def test_a_task_is_found_by_its_words(self, text: str, calls: list[OfflineCall]) -> None:
        looked_up = round_of((tasks(), [MILK, MUM]))

        assert reply([user(text), *looked_up], TOOLS) == OfflineReply(calls=tuple(calls))

    def test_a_task_that_is_not_there_is_said_so(self) -> None:
        said = reply([user("delete the piano task"), *round_of((tasks(), [MILK]))], TOOLS)

        assert said == OfflineReply('I found no task that sounds like "piano".')

    def test_an_ambiguous_task_is_asked_about(self) -> None:
        soy = MILK | {"number": 3, "title": "buy soy milk"}

        said = reply([user("delete the milk task"), *round_of((tasks(), [MILK, soy]))], TOOLS)

        assert said.text == "Which task do you mean?\n1. buy milk\n3. buy soy milk"


class TestResults:
    @pytest.mark.parametrize(
        ("text", "exchange", "answer"),
        [
            ("add task buy milk", (add("buy milk"), MILK), 'Added task 1: "buy milk".'),
            ("complete task 2", (complete(2), MUM), 'Task 2 ("call mum") is done.'),
            ("delete task 1", (delete(1), MILK), 'Deleted task 1 ("buy milk").'),
            ("rename task 1 to x", (update(1, "x"), MILK), 'Task 1 is now called "buy milk".'),
            ("list", (tasks(), [MILK, MUM]), "You have 2 tasks:\n1. buy milk\n2. call mum (done)"),
            ("list", (tasks(), {"tasks": [MILK]}), "You have 1 task:\n1. buy milk"),
            ("list", (tasks(), "[]"), "You have no tasks."),
            ("list", (tasks(), ""), "You have no tasks."),
            ("what's done", (tasks("completed"), []), "You have no completed tasks."),
            ("delete task 9", (delete(9), "There is no task 9."), "There is no task 9."),
        ],
    )
    def test_the_answer_tells_what_the_tool_said(
        self, text: str, exchange: tuple[OfflineCall, Any], answer: str
    ) -> None:
        assert reply([user(text), *round_of(exchange)], TOOLS) == OfflineReply(answer)

    def test_several_results_make_several_sentences(self) -> None:
        exchanges = round_of((complete(2), MUM), (delete(1), MILK))

        said = reply([user("complete task 2 and delete task 1"), *exchanges], TOOLS)

        assert said.text == 'Task 2 ("call mum") is done.\nDeleted task 1 ("buy milk").'

    def test_after_a_lookup_only_the_deed_is_told(self) -> None:
        messages = [user("complete the milk task"), *round_of((tasks(), [MILK, MUM]))]

        said = reply([*messages, *round_of((complete(1), MILK))], TOOLS)

        assert said.text == 'Task 1 ("buy milk") is done.'


class TestTalk:
    @pytest.mark.parametrize(("text", "words"), CHAT)
    def test_other_messages_get_words(self, text: str, words: str) -> None:
        said = reply([user(text)], TOOLS)

        assert words in said.text
        assert said.calls == ()

    @pytest.mark.parametrize("text", ["Tell me a story", "Explain durable execution"])
    def test_long_answers_are_long(self, text: str) -> None:
        assert len(reply([user(text)], TOOLS).text.split()) >= 80

    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            ("What is my name?", "Your name is Ada."),
            ("what did I just say?", 'You said: "I like tea"'),
            ("What was the first thing I said?", 'The first thing you said was: "my name is Ada"'),
            ("what did you say?", "I said: Fine."),
        ],
    )
    def test_it_remembers(self, text: str, answer: str) -> None:
        earlier = [user("my name is Ada"), user("I like tea")]
        said = reply([*earlier, {"role": "assistant", "content": "Fine."}, user(text)], TOOLS)

        assert said == OfflineReply(answer)

    @pytest.mark.parametrize(
        ("text", "calls"),
        [
            ("and delete it", [delete(1)]),
            ("mark it as done", [complete(1)]),
            ("rename it to bread", [update(1, "bread")]),
        ],
    )
    def test_it_is_the_task_of_the_last_result(self, text: str, calls: list[OfflineCall]) -> None:
        earlier = [user("add task buy milk"), *round_of((add("buy milk"), MILK))]
        said = {"role": "assistant", "content": 'Added task 1: "buy milk".'}

        assert reply([*earlier, said, user(text)], TOOLS) == OfflineReply(calls=tuple(calls))


class TestInstance:
    @pytest.mark.parametrize(
        ("schema", "value"),
        [
            ({"type": "integer", "minimum": 1, "maximum": 10}, 1),
            ({"type": "integer", "exclusiveMinimum": 2}, 3),
            ({"type": "number", "maximum": -1}, -1),
            ({"type": "integer", "minimum": 7, "multipleOf": 5}, 10),
            ({"enum": ["hot", "cold"]}, "hot"),
            ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, False),
            ({"type": ["null", "string"]}, None),
            ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
            ({"type": "string", "maxLength": 4}, "An o"),
            ({"$ref": "#/$defs/a", "$defs": {"a": {"const": 5}}}, 5),
            ({"properties": {"a": {"type": "null"}, "b": {}}, "required": ["a"]}, {"a": None}),
        ],
    )
    def test_it_satisfies_the_schema(self, schema: dict[str, Any], value: object) -> None:
        assert instance(schema) == value

    def test_a_long_enough_text_is_found(self) -> None:
        assert len(instance({"type": "string", "minLength": 100})) >= 100
