"""Context: long conversations are summed up, and nothing that must stay gets lost."""

import json
from collections.abc import Iterator, Sequence
from uuid import uuid4

import pytest

from activities.chat import context
from domain.gateway.completions import PromptMessage, ToolCall
from domain.gateway.errors import ContextTooLong
from testing.problems import problem
from testing.prompts import prompts
from testing.stack import Api, Stack
from testing.stacks import Stacks

WINDOW = 2600
DEPLOYMENTS = {"small": {"model": "openai/small", "window": WINDOW}}
ENVIRON = {
    "PERDURE_MODEL": "",
    "PERDURE_DEPLOYMENTS": json.dumps(DEPLOYMENTS),
    "PERDURE_ROUTES": json.dumps({"chat": {"deployments": ["small"]}}),
}
LONG = "The harbour of Genoa has many cranes. " * 60


@pytest.fixture(scope="module")
def stack(stacks: Stacks) -> Iterator[Stack]:
    with stacks.get("context", ENVIRON) as stack:
        yield stack


@pytest.fixture
def api(stack: Stack) -> Api:
    return stack.client(tenant=f"t-{uuid4().hex[:10]}", role="admin")


class TestSummary:
    def test_what_outgrows_the_window_is_summed_up_in_a_step_of_its_own(
        self, stack: Stack, api: Api
    ) -> None:
        thread = api.thread()
        api.ask(f"My name is Zoe. {LONG}", thread)
        (pinned, *_) = api.messages(thread)
        last = f"what do you know of me {uuid4().hex}"

        events = api.ask(f"{LONG} {last}", thread)

        kinds = [(event.step, event.type) for event in events if event.step]
        assert (1, "step.finished") in kinds
        assert (2, "context.summarised") in kinds
        assert events[-1].data["outcome"] == "answered"
        reasons = [e.data["finish_reason"] for e in events if e.type == "step.finished"]
        assert reasons == ["context_too_long", "summarised", "stop"]
        (prompt,) = prompts(stack, f"{LONG} {last}")
        assert [message["role"] for message in prompt] == ["system", "user"]
        assert prompt[0]["content"].startswith("You are a helpful assistant.")
        assert "Summary of the conversation so far:\nThey talked" in prompt[0]["content"]
        assert pinned["text"] not in json.dumps(prompt)

    def test_a_pinned_message_stays_word_for_word(self, stack: Stack, api: Api) -> None:
        thread = api.thread()
        api.ask("My name is Zoe and I am allergic to nuts.", thread)
        api.ask(LONG, thread)
        url = f"/api/v1/threads/{thread}/messages"
        pinned = api.messages(thread)[0]
        assert api.put(f"{url}/{pinned['id']}/pin").status_code == 204
        last = f"{LONG} cook for me {uuid4().hex}"

        api.ask(last, thread)

        (prompt,) = prompts(stack, last)
        assert prompt[1]["content"] == pinned["text"]
        assert api.messages(thread)[0]["pinned"]
        assert api.delete(f"{url}/{pinned['id']}/pin").status_code == 204
        assert not api.messages(thread)[0]["pinned"]
        problem(api.put(f"{url}/nothing/pin"), 404)

    def test_a_providers_own_limit_leads_the_same_way_once(self, api: Api) -> None:
        thread = api.thread()
        api.ask("hello", thread)

        events = api.ask(f"[[once:context_too_long]] short {thread}", thread)
        again = api.ask("[[fault:context_too_long]] short", thread)

        assert events[-1].data["outcome"] == "answered"
        assert "context.summarised" in [event.type for event in events]
        assert again[-1].data["error"]["code"] == "context_too_long"
        assert [event.type for event in again].count("context.summarised") == 1

    def test_summaries_are_paid_for_as_what_they_are(self, api: Api) -> None:
        thread = api.thread()
        api.ask("hello", thread)
        run = api.say(thread, f"[[once:context_too_long]] short {thread}")
        api.finish(run)

        calls = api.get("/api/v1/usage/calls", params={"run": run}).json()["items"]

        features = [(call["feature"], call["status"], call["prompt"]) for call in calls[::-1]]
        assert features == [
            ("chat", "context_too_long", "chat"),
            ("summarise", "ok", "summarise"),
            ("chat", "ok", "chat"),
        ]

    def test_one_message_that_is_too_long_is_cut_in_the_middle(
        self, stack: Stack, api: Api
    ) -> None:
        mark = uuid4().hex
        last = f"begin {mark} {LONG * 6} end"

        events = api.ask(last)

        assert events[-1].data["outcome"] == "answered"
        body = stack.journal(mark)[-1]["user_text"]
        assert body.startswith("begin")
        assert body.endswith("end")
        assert "characters left out" in body


def words(texts: Sequence[str]) -> int:
    return sum(len(text.split()) for text in texts)


def result(text: str, number: int) -> list[PromptMessage]:
    call = ToolCall(call_id=str(number), name="look", arguments={})
    return [
        PromptMessage(role="assistant", text="", tool_calls=(call,)),
        PromptMessage(role="tool", text=text, call_id=str(number)),
    ]


class TestFit:
    MESSAGES = (
        PromptMessage(role="system", text="be kind"),
        PromptMessage(role="user", text="look three times"),
        *result("old " * 200, 1),
        *result("middle " * 200, 2),
        *result("new " * 200, 3),
    )

    def test_the_oldest_results_are_left_out_first(self) -> None:
        fitting = context.without_old_results(self.MESSAGES, 520, words)

        assert fitting is not None
        texts = [message.text for message in fitting if message.role == "tool"]
        assert texts[0] == "[result left out: 800 characters]"
        assert texts[1:] == ["middle " * 200, "new " * 200]

    def test_the_results_of_the_last_step_stay(self) -> None:
        assert context.without_old_results(self.MESSAGES, 100, words) is None
        fitting = context.without_old_results(self.MESSAGES, 320, words)
        assert fitting is not None
        assert fitting[-1].text == "new " * 200

    def test_what_cannot_be_cut_any_more_is_an_error(self) -> None:
        with pytest.raises(ContextTooLong):
            context.clip(self.MESSAGES, 10, words)
