"""The floor of a thread: who speaks, who waits, who is stopped, as a user sees it."""

import uuid
from itertools import pairwise

import pytest

from testing.problems import problem
from testing.prompts import prompts
from testing.stack import Api, Event, Stack, shown_text
from testing.temporal_runs import terminate
from testing.waiting import wait_until

# Scores are seen by all of their tenant: this one has none.
TENANT = "floor"


@pytest.fixture
def api(stack: Stack) -> Api:
    """A user without threads."""
    return stack.client(f"user-{uuid.uuid4().hex}", tenant=TENANT)


def slow(seconds: float, marker: str = "") -> str:
    """Return a text that is answered in so many seconds, word by word."""
    return f"[[fault:slow_drip chunks={int(seconds * 50)} chunk_delay=0.02]] {marker}".strip()


def speaking(api: Api, run: str) -> list[Event]:
    """Read the run's events until it says something."""
    seen = []
    for event in api.events(run):
        seen.append(event)
        if event.type == "text.delta":
            break
    return seen


def cancel(api: Api, run: str) -> list[Event]:
    """Cancel a run, and wait for its end."""
    answer = api.post(f"/api/v1/runs/{run}/cancel")
    assert answer.status_code == 202, answer.text
    return api.finish(run)


def outcome(api: Api, run: str) -> str:
    """Return how a run ended."""
    return str(api.finish(run)[-1].data["outcome"])


def texts(api: Api, thread: str) -> list[str]:
    """Return what was said in a thread."""
    return [message["text"] for message in api.messages(thread)]


class TestQueue:
    def test_messages_are_answered_one_after_the_other_in_order(
        self, api: Api, stack: Stack
    ) -> None:
        thread = api.thread()
        runs = [api.say(thread, slow(1.5))]
        runs += [api.say(thread, f"{name} {thread}") for name in ("second", "third", "fourth")]
        accepted = [next(api.events(run)).data["queued"] for run in runs[1:]]
        states = [api.run(run)["status"] for run in runs]

        ends = [api.finish(run) for run in runs]

        assert accepted == [True, True, True]
        assert states == ["running", "queued", "queued", "queued"]
        said = texts(api, thread)
        assert said[2::2] == [f"{name} {thread}" for name in ("second", "third", "fourth")]
        for earlier, later in pairwise(ends):
            started = next(event for event in later if event.type == "run.started")
            assert earlier[-1].row["created_at"] <= started.row["created_at"]
        assert said[1] in [m["content"] for m in prompts(stack, f"second {thread}")[0]]

    def test_who_queues_up_can_be_cancelled_without_a_word(self, api: Api) -> None:
        thread = api.thread()
        first = api.say(thread, slow(0.8))
        second, third = api.say(thread, "second"), api.say(thread, "third")

        events = cancel(api, second)

        assert [event.type for event in events] == ["run.accepted", "run.finished"]
        assert events[-1].data["outcome"] == "cancelled"
        assert (outcome(api, first), outcome(api, third)) == ("answered", "answered")
        assert texts(api, thread)[3] == "third"

    def test_a_turn_after_one_that_was_terminated_still_runs(self, api: Api, stack: Stack) -> None:
        thread = api.thread()
        first = api.say(thread, "[[fault:hang]]")
        second = api.say(thread, "second")
        terminate(stack, first, TENANT)

        assert api.run(first)["outcome"] == "terminated"
        assert outcome(api, first) == "terminated"
        assert outcome(api, second) == "answered"


class TestReject:
    def test_a_message_is_refused_while_another_turn_runs(self, api: Api) -> None:
        thread = api.thread()
        url = f"/api/v1/threads/{thread}/messages"
        run = api.say(thread, slow(0.5))

        refused = problem(api.post(url, json={"text": "b", "policy": "reject"}), 409, "floor_taken")

        assert refused["run_id"] == run
        assert outcome(api, run) == "answered"
        assert len(api.messages(thread)) == 2
        assert outcome(api, api.say(thread, "b", policy="reject")) == "answered"


class TestSteer:
    def test_a_message_joins_the_run_at_its_next_step(self, api: Api, stack: Stack) -> None:
        thread = api.thread()
        steps = [
            {"tool_calls": [{"name": "list_tasks", "arguments": {}}], "first_delay": 0.7},
            {"text": "done and heard"},
        ]
        go, text = f"go {thread}", f"and quickly {thread}"
        stack.script(go, queue=steps)
        run = api.say(thread, go)
        wait_until(lambda: prompts(stack, go))

        assert api.say(thread, text, policy="steer") == run

        events = api.finish(run)
        (steered,) = [event for event in events if event.type == "message.steered"]
        assert steered.data["text"] == text
        roles = [message["role"] for message in prompts(stack, text)[-1]]
        assert roles == ["system", "user", "assistant", "tool", "user"]
        assert texts(api, thread) == [go, "", text, "done and heard"]

    def test_what_comes_while_the_answer_streams_is_answered_in_the_same_run(
        self, api: Api, stack: Stack
    ) -> None:
        thread = api.thread()
        text = f"what about {thread}?"
        run = api.say(thread, slow(1.0))
        speaking(api, run)

        assert api.say(thread, text, policy="steer") == run

        events = api.finish(run)
        assert events[-1].data["outcome"] == "answered"
        assert events[-1].data["steps"] == 2
        assert text in events[-1].data["text"]
        said = texts(api, thread)
        assert said[2:] == [text, events[-1].data["text"]]
        assert said[1] in [message["content"] for message in prompts(stack, text)[-1]]
        assert len(api.get("/api/v1/runs").json()["items"]) == 1

    def test_without_a_turn_to_join_it_is_a_turn_of_its_own(self, api: Api) -> None:
        thread = api.thread()

        assert outcome(api, api.say(thread, "hello", policy="steer")) == "answered"
        assert len(api.messages(thread)) == 2

    def test_the_same_message_steers_once(self, api: Api) -> None:
        thread = api.thread()
        run = api.say(thread, slow(0.8))
        speaking(api, run)

        runs = {api.say(thread, "more", policy="steer", message_id="m-2") for _ in range(3)}

        assert runs == {run}
        events = api.finish(run)
        assert [event.type for event in events].count("message.steered") == 1
        assert len(texts(api, thread)) == 4


class TestInterrupt:
    def test_the_running_turn_stops_and_its_partial_answer_stays(
        self, api: Api, stack: Stack
    ) -> None:
        thread = api.thread()
        text = f"stop, rather {thread}"
        first = api.say(thread, slow(60))
        speaking(api, first)

        second = api.say(thread, text, policy="interrupt")

        events = api.finish(first)
        assert events[-1].data["outcome"] == "interrupted"
        answer = api.messages(thread)[1]
        assert answer["partial"] is True
        assert answer["text"] == shown_text(events) == events[-1].data["text"] != ""
        assert outcome(api, second) == "answered"
        assert answer["text"] in [message["content"] for message in prompts(stack, text)[-1]]
        assert api.messages(thread)[3]["partial"] is False

    def test_those_who_waited_before_are_not_jumped(self, api: Api) -> None:
        thread = api.thread()
        first = api.say(thread, slow(60))
        speaking(api, first)
        second = api.say(thread, "second")

        third = api.say(thread, "third", policy="interrupt")

        assert [outcome(api, run) for run in (first, second, third)] == [
            *("interrupted", "answered", "answered")
        ]
        assert texts(api, thread)[2::2] == ["second", "third"]

    def test_two_interruptions_stop_each_what_runs(self, api: Api) -> None:
        thread = api.thread()
        first = api.say(thread, slow(60))
        second = api.say(thread, slow(60, "again"), policy="interrupt")
        speaking(api, second)
        third = api.say(thread, "third", policy="interrupt")

        assert [outcome(api, run) for run in (first, second, third)] == [
            *("interrupted", "interrupted", "answered")
        ]


class TestCancel:
    def test_a_streaming_answer_stops_and_what_was_said_stays(self, api: Api, stack: Stack) -> None:
        thread = api.thread()
        text = slow(60, thread)
        run = api.say(thread, text)
        speaking(api, run)

        events = cancel(api, run)

        answer = api.messages(thread)[-1]
        assert events[-1].data["outcome"] == "cancelled"
        assert answer["partial"] is True
        assert answer["text"] == shown_text(events) == events[-1].data["text"] != ""
        assert len(stack.journal(text)) == 1
        wait_until(lambda: stack.journal(text)[0]["state"] == "disconnected")

    def test_a_silent_model_is_given_up(self, api: Api) -> None:
        thread = api.thread()
        run = api.say(thread, "[[fault:hang]]")
        wait_until(lambda: api.run(run)["last_seq"] > 1)

        assert cancel(api, run)[-1].data["text"] == ""
        assert [message["role"] for message in api.messages(thread)] == ["user"]
        assert api.ask("hello", thread)[-1].data["outcome"] == "answered"

    def test_the_next_one_in_the_queue_takes_over(self, api: Api) -> None:
        thread = api.thread()
        first, second = api.say(thread, slow(60)), api.say(thread, "second")
        speaking(api, first)

        cancel(api, first)

        assert outcome(api, second) == "answered"

    def test_what_has_ended_cannot_be_cancelled(self, api: Api) -> None:
        run = api.say(api.thread(), "hello")
        events = api.finish(run)

        problem(api.post(f"/api/v1/runs/{run}/cancel"), 409, "run_finished")

        assert api.finish(run) == events
