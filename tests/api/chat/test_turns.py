"""Chat: what a person notices of a turn, on a real stack."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from testing.problems import problem
from testing.prompts import prompts
from testing.stack import Api, Event, Stack, parse, shown_text

# Scores are seen by all of their tenant: this one has none.
TENANT = "turns"


@pytest.fixture
def api(stack: Stack) -> Api:
    """A user without threads and tasks."""
    return stack.client(f"user-{uuid.uuid4().hex}", tenant=TENANT)


def calls_of(events: list[Event]) -> list[dict[str, Any]]:
    """Return how the run's tool calls ended."""
    return [event.data for event in events if event.type == "tool.finished"]


def tasks(api: Api) -> list[str]:
    """Return the titles of the user's tasks, as the tool says them."""
    (call,) = calls_of(api.ask("call list_tasks {}"))
    return [task["title"] for task in json.loads(call["result"])["tasks"]]


class TestTurn:
    def test_the_streamed_text_is_the_stored_answer(self, api: Api) -> None:
        thread = api.thread()

        events = api.ask("tell me something", thread)

        answer = api.messages(thread)[-1]
        assert answer["role"] == "assistant"
        assert shown_text(events) == answer["text"] == events[-1].data["text"] != ""
        assert [event.seq for event in events] == list(range(1, len(events) + 1))

    def test_the_run_tells_what_it_was_and_cost(self, api: Api) -> None:
        thread = api.thread()
        run = api.say(thread, "hello")
        events = api.finish(run)

        row = api.run(run)

        assert (row["status"], row["outcome"], row["error"]) == ("finished", "answered", None)
        assert (row["kind"], row["subject_id"]) == ("turn", thread)
        assert row["last_seq"] == len(events)
        assert row["steps"] == events[-1].data["steps"] == 1
        assert row["usage"] == events[-1].data["usage"]
        assert row["usage"]["input_tokens"] == 10
        assert row["usage"]["output_tokens"] > 0

    def test_a_turn_remembers_the_turns_before_it(self, api: Api, stack: Stack) -> None:
        thread = api.thread()
        first = api.ask("my name is Ada", thread)[-1].data["text"]
        api.ask('call add_task {"title": "milk"}', thread)
        text = f"who am I? {uuid.uuid4().hex}"

        api.ask(text, thread)

        (messages,) = prompts(stack, text)
        assert [message["role"] for message in messages] == [
            *("system", "user", "assistant"),
            *("user", "assistant", "tool", "assistant", "user"),
        ]
        assert [messages[1]["content"], messages[2]["content"]] == ["my name is Ada", first]
        assert messages[4]["tool_calls"][0]["function"]["name"] == "add_task"
        assert messages[5]["tool_call_id"] == messages[4]["tool_calls"][0]["id"]
        assert "milk" in messages[5]["content"]

    @pytest.mark.parametrize("text", [r"a \u0000 b", r"\\u0000", r"\\\u0000 \\"], ids=len)
    def test_backslashes_come_back_as_they_went(self, api: Api, text: str) -> None:
        thread = api.thread()

        events = api.ask(f"call add_task {json.dumps({'title': text})}", thread)

        assert events[-1].data["outcome"] == "answered"
        (ended,) = (event.data for event in events if event.type == "tool.finished")
        assert json.loads(ended["result"])["title"] == text
        assert shown_text(events) == api.messages(thread)[-1]["text"]

    def test_threads_do_not_hear_each_other(self, api: Api, stack: Stack) -> None:
        api.ask("a secret", api.thread())
        text = f"what did I say? {uuid.uuid4().hex}"

        api.ask(text, api.thread())

        (messages,) = prompts(stack, text)
        assert "a secret" not in json.dumps(messages)

    def test_a_failing_model_is_told_clearly_and_keeps_what_it_said(self, api: Api) -> None:
        thread = api.thread()

        events = api.ask("[[fault:bad_request]]", thread)

        assert events[-1].data["outcome"] == "failed"
        assert events[-1].data["error"]["code"] == "model_rejected"
        assert api.ask("hello", thread)[-1].data["outcome"] == "answered"


class TestTools:
    def test_parallel_calls_each_happen_once_and_the_model_hears_all(
        self, api: Api, stack: Stack
    ) -> None:
        titles = ["milk", "bread", "tea", "jam"]
        calls = [{"name": "add_task", "arguments": {"title": title}} for title in titles]
        text = f"add four things {uuid.uuid4().hex}"
        stack.script(text, queue=[{"tool_calls": calls}])

        events = api.ask(text)

        assert [call["status"] for call in calls_of(events)] == ["ok"] * 4
        assert sorted(tasks(api)) == sorted(titles)
        assert all(title in events[-1].data["text"] for title in titles)
        assert events[-1].data["steps"] == 2

    def test_the_messages_show_the_calls(self, api: Api) -> None:
        thread = api.thread()
        api.ask('call add_task {"title": "milk"}', thread)

        asked = api.messages(thread)[1]

        (call,) = asked["tool_calls"]
        assert (call["name"], call["arguments"]) == ("add_task", {"title": "milk"})
        assert call["status"] == "ok"
        assert json.loads(call["result"])["number"] == 1

    @pytest.mark.parametrize(
        ("name", "arguments", "words"),
        [
            ("complete_task", {"number": 99}, "There is no task 99"),
            ("add_task", {"title": ""}, "A title has 1 to 500 characters"),
            ("complete_task", {"number": "three"}, "Say which task by its number"),
            ("order_pizza", {"size": 3}, "There is no tool order_pizza"),
            ("add_task", {}, "A title has 1 to 500 characters"),
        ],
        ids=["refused", "empty", "wrong type", "unknown tool", "missing"],
    )
    def test_a_failing_tools_words_reach_the_model(
        self, api: Api, stack: Stack, name: str, arguments: dict[str, Any], words: str
    ) -> None:
        text = f"do it {uuid.uuid4().hex}"
        stack.script(text, queue=[{"tool_calls": [{"name": name, "arguments": arguments}]}])

        events = api.ask(text)

        (call,) = calls_of(events)
        assert call["status"] == "failed"
        assert words in call["result"]
        assert words in prompts(stack, text)[-1][-1]["content"]
        assert events[-1].data["outcome"] == "answered"

    def test_broken_arguments_are_not_carried_out(self, api: Api, stack: Stack) -> None:
        broken = {"tool_calls": [{"name": "add_task", "arguments": '{"title": "mi'}]}
        text = f"add milk {uuid.uuid4().hex}"
        stack.script(text, queue=[broken])

        events = api.ask(text)

        assert events[-1].data["outcome"] == "answered"
        assert tasks(api) == []


class TestIdempotency:
    def test_the_same_message_id_is_the_same_turn(self, api: Api) -> None:
        thread = api.thread()
        runs = {api.say(thread, "hello", message_id="m-1") for _ in range(2)}
        api.finish(*runs)
        runs.add(api.say(thread, "hello", message_id="m-1"))

        assert len(runs) == 1
        assert [message["role"] for message in api.messages(thread)] == ["user", "assistant"]

    def test_another_text_under_the_same_id_is_a_conflict(self, api: Api) -> None:
        thread = api.thread()
        run = api.say(thread, "hello", message_id="m-1")
        body = {"text": "goodbye", "message_id": "m-1"}

        problem(api.post(f"/api/v1/threads/{thread}/messages", json=body), 409, "message_conflict")

        api.finish(run)
        assert len(api.messages(thread)) == 2

    def test_an_idempotency_key_of_any_form_does_the_same(self, api: Api) -> None:
        thread = api.thread()
        for key in ("key-1", "a key / with é", "x" * 255):
            header = {b"Idempotency-Key": key.encode()}
            url = f"/api/v1/threads/{thread}/messages"
            answers = [api.post(url, json={"text": key}, headers=header).json() for _ in range(2)]
            assert answers[0] == answers[1]
            api.finish(answers[0]["run_id"])

        assert len(api.messages(thread)) == 6

    def test_twenty_at_once_are_one_turn(self, api: Api) -> None:
        thread = api.thread()
        text = 'call add_task {"title": "milk"}'
        with ThreadPoolExecutor(20) as pool:
            sent = [pool.submit(api.say, thread, text, message_id="m-1") for _ in range(20)]
            runs = {future.result() for future in sent}

        (run,) = runs
        api.finish(run)
        assert tasks(api) == ["milk"]
        assert len(api.messages(thread)) == 3


class TestEvents:
    def test_a_post_can_be_the_stream(self, api: Api) -> None:
        thread = api.thread()
        url = f"/api/v1/threads/{thread}/messages"
        headers = {"Accept": "text/event-stream"}

        with api.stream("POST", url, json={"text": "hello"}, headers=headers) as answer:
            events = list(parse(answer.iter_lines()))

        assert answer.headers["content-type"].startswith("text/event-stream")
        assert events == api.finish(answer.headers["x-run-id"])
        assert answer.headers["location"] == f"/api/v1/runs/{answer.headers['x-run-id']}"
        assert shown_text(events) == api.messages(thread)[-1]["text"]

    def test_the_pages_and_the_stream_are_the_same_rows(self, api: Api) -> None:
        run = api.say(api.thread(), 'call add_task {"title": "milk"}')
        streamed = [event.row for event in api.finish(run)]

        paged: list[dict[str, Any]] = []
        while page := json_page(api, run, len(paged), limit=2)["items"]:
            assert len(page) <= 2
            paged += page

        assert paged == streamed
        assert json_page(api, run, 0)["last_seq"] == len(streamed)

    @pytest.mark.parametrize("after", [1, 3, 6])
    def test_a_reader_goes_on_where_it_was(self, api: Api, after: int) -> None:
        run = api.say(api.thread(), 'call add_task {"title": "milk"}')
        whole = api.finish(run)

        assert list(api.events(run, after)) == whole[after:]
        page = api.get(f"/api/v1/runs/{run}/events", params={"after": after})
        assert list(parse(iter(page.text.splitlines()))) == whole[after:]

    def test_after_the_end_there_is_nothing_more(self, api: Api) -> None:
        run = api.say(api.thread(), "hello")
        last = api.finish(run)[-1].seq

        answer = api.get(f"/api/v1/runs/{run}/events", headers={"Last-Event-ID": str(last)})

        assert (answer.status_code, answer.content) == (204, b"")
        assert json_page(api, run, last) == {"items": [], "last_seq": last}

    def test_many_readers_see_the_same_bytes(self, api: Api, stack: Stack) -> None:
        run = api.say(api.thread(), "[[fault:slow_drip chunks=20 chunk_delay=0.02]]")
        url = f"{stack.ready['api']}/api/v1/runs/{run}/events"

        def read(_: int) -> str:
            answer = httpx.get(url, headers=api.headers, timeout=60, verify=False)
            return answer.text.replace(": keep-alive\n\n", "")

        with ThreadPoolExecutor(8) as pool:
            seen = set(pool.map(read, range(8)))

        assert seen == {read(0)}


class TestRuns:
    def test_runs_are_found_by_what_they_are(self, api: Api) -> None:
        thread = api.thread()
        good = api.say(thread, "hello")
        api.finish(good)
        bad = api.say(thread, "[[fault:bad_request]]")
        api.finish(bad)

        def find(**query: str) -> list[str]:
            page = api.get("/api/v1/runs", params=query).raise_for_status().json()
            return [item["id"] for item in page["items"]]

        assert find() == [bad, good]
        assert find(outcome="failed") == [bad]
        assert find(status="finished", kind="turn", subject_id=thread) == [bad, good]
        assert find(status="running") == find(subject_id="th-other") == []

    def test_pages_of_runs_are_all_runs(self, api: Api) -> None:
        thread = api.thread()
        runs = [api.say(thread, str(number)) for number in range(5)]
        api.finish(runs[-1])
        seen, cursor = [], None
        while True:
            query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
            page = api.get("/api/v1/runs", params=query).json()
            seen += [item["id"] for item in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                break

        assert seen == runs[::-1]


def json_page(api: Api, run: str, after: int, limit: int = 500) -> dict[str, Any]:
    """Return a page of the run's events."""
    answer = api.get(
        f"/api/v1/runs/{run}/events",
        params={"after": after, "limit": limit},
        headers={"Accept": "application/json"},
    )
    page: dict[str, Any] = answer.raise_for_status().json()
    return page
