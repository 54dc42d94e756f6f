"""Faults of the provider, through the whole stack: retried within the policy, then told plainly."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from domain.gateway.calls import MAX_MODEL_FAILURES
from testing.clients import Screen, check
from testing.stack import Api, Event, Stack
from testing.stacks import Stacks
from testing.temporal_runs import handle_of
from testing.waiting import wait_until

LIMITS = {
    "PERDURE_MODEL_FIRST_TOKEN_SECONDS": "3",
    "PERDURE_MODEL_SILENCE_SECONDS": "2",
    "PERDURE_DEPLOYMENTS": '{"patient": {"model": "openai/patient"}}',
}

# What the provider does, the code that it becomes, and whether words were seen before it.
PASSING = {
    "rate_limited": ("model_rate_limited", False),
    "internal_error": ("model_unavailable", False),
    "unavailable": ("model_unavailable", False),
    "html": ("model_garbled", False),
    "empty_body": ("model_garbled", False),
    "empty_stream": ("model_garbled", False),
    "reset_mid": ("model_truncated", True),
    "cut_mid": ("model_truncated", True),
    "bad_chunk": ("model_garbled", True),
    "error_event": ("model_unavailable", True),
    "silence_mid": ("model_timeout", True),
    "hang": ("model_timeout", False),
}
FINAL = {
    "unauthorized": "model_credentials",
    "quota": "model_credentials",
    "bad_request": "model_rejected",
    "not_found": "model_rejected",
    "context_too_long": "context_too_long",
}
RETRY_AFTER_SECONDS = 2


@dataclass
class Conversations:
    """One conversation for each fault, all held at the same time."""

    stack: Stack
    api: Api
    patient: Api
    screens: dict[str, Screen]

    def api_of(self, text: str) -> Api:
        """Return the caller of a fault: all leave a provider alone that asks for patience."""
        return self.patient if text == PATIENT else self.api

    def say(self, text: str) -> None:
        api = self.api_of(text)
        self.screens[text] = Screen(api, api.say(api.thread(), text))

    def finished(self, text: str) -> list[Event]:
        """Return what a client saw, after checking that all clients see the same."""
        screen = self.screens[text]
        events = screen.finished(120)
        check(self.api_of(text), screen.run_id, events)
        return events

    def requests(self, text: str) -> list[dict[str, Any]]:
        """Return what the provider was asked about this message."""
        return [entry for entry in self.stack.journal() if entry["user_text"] == text]

    def answers(self, text: str) -> list[dict[str, Any]]:
        """Return the stored messages of the assistant."""
        _, thread, _ = self.screens[text].run_id.split(".")
        return [m for m in self.api.messages(thread) if m["role"] == "assistant"]


def once(kind: str) -> str:
    return f"[[once:{kind}]] tell me a story of some length"


def always(kind: str) -> str:
    return f"[[fault:{kind}]] tell me a story of some length"


PATIENT = once(f"rate_limited retry_after={RETRY_AFTER_SECONDS}")


@pytest.fixture(scope="module")
def talks(stacks: Stacks) -> Iterator[Conversations]:
    with stacks.get("faults", LIMITS) as stack:
        patient = stack.client(tenant="patient", role="admin")
        patient.put("/api/v1/models/routes/chat", json={"deployments": ["patient"]})
        talks = Conversations(stack, stack.client(), patient, {})
        talks.api.ask("the first call of a worker is a slow one")
        for kind in PASSING:
            talks.say(always(kind))
            talks.say(once(kind))
        for kind in FINAL:
            talks.say(always(kind))
        talks.say(PATIENT)
        yield talks


class TestOnce:
    @pytest.mark.parametrize("kind", PASSING)
    def test_it_is_retried_and_the_answer_is_clean(self, talks: Conversations, kind: str) -> None:
        events = talks.finished(once(kind))

        assert events[-1].data["outcome"] == "answered"
        (answer,) = talks.answers(once(kind))
        assert answer["text"].endswith("a story of some length")
        assert answer["text"].count("Answer") == 1
        assert not answer["partial"]
        assert len(talks.requests(once(kind))) == 2

    @pytest.mark.parametrize("kind", [kind for kind, (_, words) in PASSING.items() if words])
    def test_words_of_the_attempt_that_failed_are_taken_back(
        self, talks: Conversations, kind: str
    ) -> None:
        events = talks.finished(once(kind))

        assert [e.type for e in events].count("step.superseded") == 1
        assert {e.attempt for e in events if e.type == "text.delta"} == {1, 2}

    def test_a_retry_comes_no_earlier_than_the_provider_asked(self, talks: Conversations) -> None:
        talks.finished(PATIENT)

        first, second = talks.requests(PATIENT)
        assert second["time"] - first["time"] >= RETRY_AFTER_SECONDS


class TestForEver:
    @pytest.mark.parametrize("kind", PASSING)
    def test_after_the_last_attempt_the_run_fails_with_a_code(
        self, talks: Conversations, kind: str
    ) -> None:
        code, _ = PASSING[kind]
        events = talks.finished(always(kind))

        assert events[-1].data["outcome"] == "failed"
        assert events[-1].data["error"]["code"] == code
        assert events[-1].attempt == MAX_MODEL_FAILURES
        assert len(talks.requests(always(kind))) <= MAX_MODEL_FAILURES
        run = talks.api.run(talks.screens[always(kind)].run_id)
        assert (run["status"], run["outcome"]) == ("finished", "failed")
        assert run["error"] == events[-1].data["error"]

    @pytest.mark.parametrize(("kind", "words"), [(k, words) for k, (_, words) in PASSING.items()])
    def test_what_was_said_is_kept_as_a_partial_answer(
        self, talks: Conversations, kind: str, words: bool
    ) -> None:
        text = talks.finished(always(kind))[-1].data["text"]

        assert text.startswith("Answer") == words
        kept = [(answer["text"], answer["partial"]) for answer in talks.answers(always(kind))]
        assert kept == ([(text, True)] if words else [])

    @pytest.mark.parametrize("kind", FINAL)
    def test_what_no_retry_can_mend_fails_at_once(self, talks: Conversations, kind: str) -> None:
        events = talks.finished(always(kind))

        assert events[-1].data["outcome"] == "failed"
        assert events[-1].data["error"]["code"] == FINAL[kind]
        assert len(talks.requests(always(kind))) == 1
        assert talks.answers(always(kind)) == []

    def test_the_thread_can_be_talked_in_again(self, talks: Conversations) -> None:
        screen = talks.screens[always("cut_mid")]
        screen.finished(120)
        _, thread, _ = screen.run_id.split(".")

        events = talks.api.ask("are you there?", thread)

        assert events[-1].data["text"].endswith("are you there?")


class TestNobodyListens:
    def test_the_run_fails_with_a_code_and_a_later_one_waits_for_the_provider(
        self, talks: Conversations
    ) -> None:
        for screen in talks.screens.values():
            screen.finished(120)
        with talks.stack.without_provider():
            talks.say("is anybody there?")
            last = talks.finished("is anybody there?")[-1].data
            talks.say("and now?")
            run = talks.screens["and now?"].run_id
            wait_until(lambda: attempt(talks.stack, run) > 1)

        assert (last["outcome"], last["error"]["code"]) == ("failed", "model_unavailable")
        assert talks.finished("and now?")[-1].data["text"].endswith("and now?")


def attempt(stack: Stack, run: str) -> int:
    """Return the attempt at which the run's activity is, as Temporal has it."""

    async def ask() -> int:
        handle = await handle_of(stack, run)
        pending = (await handle.describe()).raw_description.pending_activities
        return max((activity.attempt for activity in pending), default=0)

    return asyncio.run(ask())
