"""Decisions: tools that ask a person first, and limits that end a turn."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from domain.tools.decisions import call_digest
from testing.problems import problem
from testing.prompts import prompts
from testing.stack import Api, Event, Stack
from testing.waiting import wait_until

ADD = 'call add_task {"title": "milk"}'
DELETE = 'call delete_task {"number": 1}'


@pytest.fixture
def api(guarded_stack: Stack) -> Api:
    """A user with one task."""
    api = guarded_stack.client(f"user-{uuid.uuid4().hex}")
    api.ask(ADD)
    return api


def tasks(api: Api) -> list[str]:
    """Return the titles of the user's tasks."""
    (call,) = tool_ends(api.ask("call list_tasks {}"))
    return [task["title"] for task in json.loads(call["result"])["tasks"]]


def tool_ends(events: list[Event]) -> list[dict[str, Any]]:
    """Return how the run's calls ended."""
    return [event.data for event in events if event.type == "tool.finished"]


def question_of(api: Api, run: str) -> dict[str, Any]:
    """Return the question that a run puts to a person, as soon as it does."""
    for event in api.events(run):
        if event.type == "decision.requested":
            return event.data
    raise AssertionError("the run ended without a question")


def decide(api: Api, run: str, question: dict[str, Any], verdict: str, **more: Any) -> Any:
    """Answer a question."""
    url = f"/api/v1/runs/{run}/decisions/{question['decision_id']}"
    return api.post(url, json={"verdict": verdict, "digest": question["digest"], **more})


class TestDecisions:
    def test_an_approved_call_is_made_as_it_was_shown(self, api: Api) -> None:
        run = api.say(api.thread(), DELETE)
        question = question_of(api, run)
        assert (question["tool"], question["arguments"]) == ("delete_task", {"number": 1})
        assert question["reason"] == "ask_first"
        assert question["digest"] == call_digest("delete_task", {"number": 1})
        waiting = api.run(run)
        assert waiting["status"] == "waiting"
        (shown,) = waiting["decisions"]
        assert (shown["id"], shown["digest"]) == (question["decision_id"], question["digest"])
        assert tasks(api) == ["milk"]

        answer = decide(api, run, question, "approve")

        assert answer.json() == {
            "run_id": run,
            "decision_id": question["decision_id"],
            "verdict": "approve",
        }
        events = api.finish(run)
        assert [call["status"] for call in tool_ends(events)] == ["ok"]
        made = next(event.data for event in events if event.type == "decision.made")
        assert made["verdict"] == "approve"
        assert made["decided_by"].startswith("user-")
        assert tasks(api) == []

    def test_a_denied_call_is_not_made_and_the_model_hears_it(
        self, api: Api, guarded_stack: Stack
    ) -> None:
        text = f"please {uuid.uuid4().hex} {DELETE}"
        run = api.say(api.thread(), text)

        decide(api, run, question_of(api, run), "deny").raise_for_status()

        events = api.finish(run)
        assert [call["status"] for call in tool_ends(events)] == ["denied"]
        assert events[-1].data["outcome"] == "answered"
        assert "A person said no" in prompts(guarded_stack, text)[-1][-1]["content"]
        assert tasks(api) == ["milk"]

    def test_without_an_answer_the_call_expires(self, api: Api, guarded_stack: Stack) -> None:
        text = f"please {uuid.uuid4().hex} {DELETE}"
        run = api.say(api.thread(), text)
        question = question_of(api, run)

        events = api.finish(run)

        assert [call["status"] for call in tool_ends(events)] == ["denied"]
        assert "Nobody decided in time" in prompts(guarded_stack, text)[-1][-1]["content"]
        refused = problem(decide(api, run, question, "approve"), 409)
        assert refused["code"] in ("decision_expired", "run_finished")
        assert tasks(api) == ["milk"]

    def test_it_is_decided_once(self, api: Api) -> None:
        run = api.say(api.thread(), DELETE)
        question = question_of(api, run)
        decide(api, run, question, "deny").raise_for_status()

        problem(decide(api, run, question, "approve"), 409, "decision_made")

        events = api.finish(run)
        problem(decide(api, run, question, "approve"), 409, "decision_made")
        assert [event.type for event in events].count("decision.made") == 1
        assert tasks(api) == ["milk"]

    def test_other_arguments_than_those_shown_are_refused(self, api: Api) -> None:
        run = api.say(api.thread(), DELETE)
        question = question_of(api, run)
        other = call_digest("delete_task", {"number": 2})

        refused = decide(api, run, question, "approve", digest=other)

        problem(refused, 409, "arguments_changed")
        assert api.run(run)["status"] == "waiting"
        decide(api, run, question, "deny").raise_for_status()
        api.finish(run)
        assert tasks(api) == ["milk"]

    def test_others_may_not_decide_but_a_manager_may(self, api: Api, guarded_stack: Stack) -> None:
        run = api.say(api.thread(), DELETE)
        question = question_of(api, run)

        for user, role, tenant in (("eve", "developer", "default"), ("eve", "admin", "elsewhere")):
            stranger = guarded_stack.client(user, role, tenant)
            problem(decide(stranger, run, question, "approve"), 404, "decision_unknown")
        manager = guarded_stack.client("max", "manager")
        unknown = question | {"decision_id": "9-9"}
        problem(decide(manager, run, unknown, "approve"), 404, "decision_unknown")
        assert decide(manager, run, question, "approve").status_code == 200

        events = api.finish(run)
        made = next(event.data for event in events if event.type == "decision.made")
        assert made["decided_by"] == "max"
        assert tasks(api) == []

    def test_a_run_with_two_questions_waits_for_both(self, api: Api, guarded_stack: Stack) -> None:
        api.ask(ADD)
        calls = [{"name": "delete_task", "arguments": {"number": n}} for n in (1, 2)]
        text = f"delete both {uuid.uuid4().hex}"
        guarded_stack.script(text, queue=[{"tool_calls": calls}])
        run = api.say(api.thread(), text)
        question_of(api, run)
        first, second = api.run(run)["decisions"]

        for decision, verdict, status in ((first, "deny", "waiting"), (second, "approve", None)):
            question = {"decision_id": decision["id"], "digest": decision["digest"]}
            decide(api, run, question, verdict).raise_for_status()
            assert status in (None, api.run(run)["status"])

        ends = {call["status"] for call in tool_ends(api.finish(run))}
        assert ends == {"denied", "ok"}
        assert len(tasks(api)) == 1

    def test_a_run_that_waits_can_be_cancelled(self, api: Api) -> None:
        thread = api.thread()
        run = api.say(thread, DELETE)
        question = question_of(api, run)

        api.post(f"/api/v1/runs/{run}/cancel").raise_for_status()

        events = api.finish(run)
        assert events[-1].data["outcome"] == "cancelled"
        assert [call["status"] for call in tool_ends(events)] == ["abandoned"]
        problem(decide(api, run, question, "approve"), 409, "run_finished")
        assert tasks(api) == ["milk"]
        assert api.ask("hello", thread)[-1].data["outcome"] == "answered"

    def test_a_tool_that_calls_itself_nothing_asks_first(self, api: Api) -> None:
        run = api.say(api.thread(), "call odd_pid {}")
        question = question_of(api, run)
        assert question["reason"] == "unsafe"

        decide(api, run, question, "approve").raise_for_status()

        (call,) = tool_ends(api.finish(run))
        assert call["status"] == "ok"
        assert call["result"].isdigit()

    def test_a_call_that_was_not_offered_is_never_made(
        self, api: Api, guarded_stack: Stack
    ) -> None:
        look = {"tool_calls": [{"name": "list_tasks", "arguments": {}}]}
        delete = {"tool_calls": [{"name": "delete_task", "arguments": {"number": 1}}]}
        text = f"in the last step no tools are offered {uuid.uuid4().hex}"
        guarded_stack.script(text, queue=[look, look, delete])

        events = api.ask(text)

        assert [call["status"] for call in tool_ends(events)] == ["ok", "ok", "failed"]
        assert tasks(api) == ["milk"]

    def test_a_safe_tool_of_a_server_does_not_ask(self, api: Api) -> None:
        (call,) = tool_ends(api.ask('call odd_echo {"text": "heard"}'))

        assert (call["status"], call["result"]) == ("ok", "heard")


class TestLimits:
    def test_a_turn_that_never_stops_calling_is_exhausted(
        self, api: Api, guarded_stack: Stack
    ) -> None:
        thread = api.thread()
        call = {"tool_calls": [{"name": "list_tasks", "arguments": {}}]}
        text = f"go on and on {thread}"
        guarded_stack.script(text, queue=[call] * 3)

        events = api.ask(text, thread)

        assert events[-1].data["outcome"] == "exhausted"
        assert events[-1].data["steps"] == 3
        assert api.ask("hello", thread)[-1].data["outcome"] == "answered"

    def test_the_last_step_is_told_to_answer(self, api: Api, guarded_stack: Stack) -> None:
        call = {"tool_calls": [{"name": "list_tasks", "arguments": {}}]}
        text = f"go on {uuid.uuid4().hex}"
        guarded_stack.script(text, queue=[call, call])

        events = api.ask(text)

        assert events[-1].data["outcome"] == "answered"
        asked = [entry for entry in guarded_stack.journal() if entry["user_text"] == text]
        assert [bool(entry["tools"]) for entry in asked] == [True, True, False]

    def test_a_turn_that_takes_too_long_is_timed_out(self, api: Api) -> None:
        thread = api.thread()

        events = api.ask("[[fault:slow_drip chunks=1000 chunk_delay=0.1]]", thread)

        assert events[-1].data["outcome"] == "timed_out"
        answer = api.messages(thread)[-1]
        assert answer["partial"] is True
        assert answer["text"] == events[-1].data["text"] != ""
        assert api.ask("hello", thread)[-1].data["outcome"] == "answered"

    def test_a_silent_tool_can_be_cancelled(self, api: Api, tmp_path: Path) -> None:
        started, cancelled = tmp_path / "started", tmp_path / "cancelled"
        arguments = json.dumps({"started": str(started), "cancelled": str(cancelled)})
        run = api.say(api.thread(), f"call odd_wait {arguments}")
        wait_until(started.exists)

        api.post(f"/api/v1/runs/{run}/cancel").raise_for_status()

        events = api.finish(run)
        assert events[-1].data["outcome"] == "cancelled"
        assert [call["status"] for call in tool_ends(events)] == ["abandoned"]
        wait_until(cancelled.exists)
