"""Crashes of workers: killed at every boundary, nothing is lost, said or done twice."""

import asyncio
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from temporalio.client import Client

from adapters.temporal import connect
from domain import names
from domain.chat import TurnResult
from domain.runs import Outcome
from tests.clients import Screen, answer, check, follow
from tests.fleet import Fleet
from tests.stack import Api, Event, Stack, shown_text, stack_home
from tests.waiting import wait_until

WORDS = " ".join(f"word{number}" for number in range(40))
SLOWLY = f"[[fault:ok chunk_delay=0.05]] {WORDS}"
BANK = Path(__file__).parent / "servers" / "bank.py"
When = Literal["before", "after"]
_log = logging.getLogger("recovery")


@dataclass
class Site:
    """The stack of these tests, its workers, and the file that payments go to."""

    stack: Stack
    fleet: Fleet
    ledger: Path

    def asked(self, words: str) -> int:
        """How often the provider was asked about a message with these words."""
        return sum(words in entry["user_text"] for entry in self.stack.journal())

    def result(self, run: str) -> Outcome:
        """How the run's workflow ended, as soon as it has."""

        async def wait() -> TurnResult:
            client = await connect()
            workflow_id = names.workflow_id("default", run)
            handle = client.get_workflow_handle(workflow_id, result_type=TurnResult)
            return await asyncio.wait_for(handle.result(), 60)

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TEMPORAL_ADDRESS", self.stack.ready["temporal"])
            return asyncio.run(wait()).outcome

    def payments(self) -> list[str]:
        return self.ledger.read_text().split() if self.ledger.exists() else []


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with stack_home() as home:
        ledger = home.parent / "payments"
        command = [sys.executable, str(BANK)]
        environment = {"BANK_LEDGER": str(ledger)}
        bank = {"name": "bank", "command": command, "environment": environment}
        environ = {
            "PERDURE_TOOL_SERVERS": json.dumps([bank]),
            "PERDURE_ASK_FIRST": "delete_task,update_task",
        }
        with Stack(home, workers=0, environ=environ) as stack:
            yield Site(stack, Fleet(stack, home.parent / "fleet"), ledger)


def tasks(api: Api) -> list[str]:
    """The titles of the user's tasks, asked for in the conversation as a user would."""
    events = api.ask("call list_tasks {}")
    results = [event.data["result"] for event in events if event.type == "tool.finished"]
    return [task["title"] for task in json.loads(results[0])["tasks"]]


def say_plain(api: Api, thread: str, message: str) -> Screen:
    return Screen(api, api.say(thread, f"{message} {WORDS}", message_id=message))


def say_tools(api: Api, thread: str, message: str) -> Screen:
    """Two steps, with a tool call between them."""
    text = f'{message} call add_task {{"title": "{message}"}}'
    return Screen(api, api.say(thread, text, message_id=message))


def say_queued(api: Api, thread: str, message: str) -> Screen:
    """A turn that waits for the one before it."""
    api.say(thread, "[[fault:ok chunk_delay=0.05]] the one before")
    return say_plain(api, thread, message)


def say_cancelled(api: Api, thread: str, message: str) -> Screen:
    """A turn that is cancelled while it speaks."""
    screen = Screen(api, api.say(thread, f"{message} {SLOWLY}", message_id=message))
    screen.sees("text.delta", 3)
    api.post(f"/api/v1/runs/{screen.run_id}/cancel").raise_for_status()
    return screen


def say_guarded(verdict: str) -> "Story":
    """A tool call that a person decides about."""

    def story(api: Api, thread: str, message: str) -> Screen:
        text = f'{message} call delete_task {{"number": 1}}'
        screen = Screen(api, api.say(thread, text, message_id=message))
        decide(api, screen.run_id, requested(screen), verdict)
        return screen

    return story


def report(site: Site, run: str, activity: str) -> None:
    """Log the seconds from a blow to the run's next activity in another process."""
    blow = site.fleet.seen(run, activity, "signal")[0]
    later = [s.time for s in site.fleet.of(run) if s.time > blow.time and s.pid != blow.pid]
    _log.info("recovery %s: %s", activity, f"{later[0] - blow.time:.1f} s" if later else "none")


Story = Callable[[Api, str, str], Screen]
# What happens, the activity at which the worker dies, its step, and how often the model is asked.
BOUNDARIES: dict[str, tuple[Story, str, int | None, int | None]] = {
    "a plain answer": (say_plain, "take_step", 1, 1),
    "a step that calls a tool": (say_tools, "take_step", 1, 2),
    "a tool call": (say_tools, "call_tool", 1, 2),
    "a second step": (say_tools, "take_step", 2, 2),
    "asking for the floor": (say_queued, "ask_for_floor", None, 1),
    "closing a cancelled turn": (say_cancelled, "close_turn", None, None),
    "reading a decision": (say_guarded("approve"), "read_decision", None, 2),
    "settling a denied call": (say_guarded("deny"), "settle_call", 1, 2),
}


def requested(screen: Screen, count: int = 1) -> dict[str, Any]:
    """The question that a run puts to a person."""
    screen.sees("decision.requested", count)
    asked = [event for event in screen.events if event.type == "decision.requested"]
    return asked[count - 1].data


def decide(api: Api, run_id: str, question: dict[str, Any], verdict: str) -> None:
    path = f"/api/v1/runs/{run_id}/decisions/{question['decision_id']}"
    body = {"verdict": verdict, "digest": question["digest"]}
    api.post(path, json=body).raise_for_status()


@pytest.fixture
def api(site: Site, request: pytest.FixtureRequest) -> Api:
    """A user of one's own, whose list of tasks is empty."""
    return site.stack.client(user=f"user-{abs(hash(request.node.name))}")


class TestWorkerKilledAtABoundary:
    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("boundary", BOUNDARIES)
    def test_the_turn_ends_as_if_nothing_had_happened(
        self, site: Site, api: Api, boundary: str, when: When
    ) -> None:
        story, activity, step, questions = BOUNDARIES[boundary]
        thread, message = api.thread(), f"{boundary.replace(' ', '-')}-{when}"
        run = names.turn_id(thread, message)
        site.fleet.hit(activity, when, run, **({"step": step} if step else {}))

        events = story(api, thread, message).finished()

        assert events[-1].data["outcome"] == site.result(run)
        assert events[-1].data["outcome"] == ("cancelled" if story is say_cancelled else "answered")
        assert not site.fleet.missed
        report(site, run, activity)
        check(api, run, events)
        assert questions in (None, site.asked(f"{message} "))
        assert tasks(api) == ([message] if story is say_tools else [])
