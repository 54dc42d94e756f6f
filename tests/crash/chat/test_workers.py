"""Crashes of workers: killed at every boundary, nothing is lost, said or done twice."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import pairwise
from typing import Literal

import pytest

from db.runs.events import Events
from db.session import database_of
from domain import names
from domain.errors import Superseded
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import Outcome, RunRef
from testing.clients import Screen, answer, check
from testing.crash_site import SLOWLY, WORDS, Site, decide, requested, tasks
from testing.stack import Api, Event
from testing.waiting import wait_until

When = Literal["before", "after"]
_log = logging.getLogger("recovery")


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


@pytest.fixture
def api(site: Site, request: pytest.FixtureRequest) -> Api:
    return site.user(request.node.nodeid)


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


class TestWorkerKilledInMidstream:
    @pytest.mark.gate
    def test_everybody_reads_the_stored_text(self, site: Site, api: Api) -> None:
        run = api.say(api.thread(), SLOWLY)
        steady, leaving = Screen(api, run), Screen(api, run, leaves_at=2)
        steady.sees("text.delta", 4)

        site.fleet.kill(run)
        steady.sees("step.superseded")
        leaving.come_back()
        midway = Screen(api, run)

        check(api, run, steady.finished(), leaving.finished(), midway.finished())
        assert steady.count("step.superseded") == 1
        assert {e.attempt for e in midway.events if e.type == "text.delta"} == {2}
        assert answer(api, run).endswith(WORDS)
        gap = pause(steady.events)
        _log.info("recovery mid-stream: %.1f s until text flowed again", gap)

    def test_all_attempts_but_the_last_may_die(self, site: Site, api: Api) -> None:
        run = api.say(api.thread(), SLOWLY)
        screen = Screen(api, run)
        for attempt in (1, 2):
            wait_until(lambda: _deltas(screen, attempt) > 2)  # noqa: B023
            site.fleet.kill(run)

        check(api, run, screen.finished())
        assert {e.attempt for e in screen.events if e.type == "text.delta"} == {1, 2, 3}

    def test_a_message_that_came_while_no_worker_lived_is_answered(
        self, site: Site, api: Api
    ) -> None:
        thread = api.thread()
        with site.fleet.all_dead():
            runs = [api.say(thread, f"message {number}") for number in range(3)]
            assert api.run(runs[0])["status"] == "running"

        for number, run in enumerate(runs):
            check(api, run, Screen(api, run).finished())
            assert answer(api, run).endswith(f"message {number}")

    def test_a_decision_that_was_made_while_no_worker_lived_is_obeyed(
        self, site: Site, api: Api
    ) -> None:
        api.ask('call add_task {"title": "milk"}')
        run = api.say(api.thread(), 'call update_task {"number": 1, "title": "oats"}')
        screen = Screen(api, run)
        question = requested(screen)
        with site.fleet.all_dead():
            decide(api, run, question, "approve")

        check(api, run, screen.finished())
        assert tasks(api) == ["oats"]


class TestWorkerKilledBesideFailures:
    """An attempt that was lost with its worker is no failure of the model or of the tool."""

    _FAILS = {"kind": "rate_limited", "retry_after": "0.05"}

    @pytest.mark.parametrize(("failures", "outcome"), [(5, "answered"), (6, "failed")])
    def test_a_model_may_fail_five_times(
        self, site: Site, api: Api, failures: int, outcome: str
    ) -> None:
        site.stack.script(queue=[{"chunk_delay": 0.05}] * 2 + [self._FAILS] * failures)
        text = f"patience-{failures} {WORDS}"
        screen = Screen(api, api.say(api.thread(), text))
        for attempt in (1, 2):
            wait_until(lambda: _deltas(screen, attempt) > 2)  # noqa: B023
            site.fleet.kill(screen.run_id)

        events = screen.finished()

        check(api, screen.run_id, events)
        assert events[-1].data["outcome"] == outcome
        assert site.asked(text) == 2 + failures + (outcome == "answered")

    @pytest.mark.parametrize(("failures", "status"), [(3, "ok"), (4, "failed")])
    def test_a_tool_may_fail_three_times(
        self, site: Site, api: Api, failures: int, status: str
    ) -> None:
        """The call waits for a lock of the task list; the server fails as often as its connection
        is cut off there."""
        with site.owner() as owner:
            lock = "SELECT pg_advisory_lock(hashtextextended('default/tasks/' || %s, 0))"
            owner.execute(lock, [api.user])
            screen = Screen(api, api.say(api.thread(), 'call add_task {"title": "milk"}'))
            screen.sees("tool.started")
            wait_until(lambda: owner.execute(_WAITING).fetchall())
            site.fleet.kill(screen.run_id, "call_tool")
            owner.execute(_CUT_OFF)
            for failure in range(failures):
                screen.sees("tool.started", 2 + failure)
                wait_until(lambda: owner.execute(_CUT_OFF).fetchall())

        events = screen.finished()

        check(api, screen.run_id, events)
        assert screen.count("tool.started") == 1 + failures + (status == "ok")
        assert [e.data["status"] for e in events if e.type == "tool.finished"] == [status]
        assert tasks(api) == ["milk"] * (status == "ok")


class TestFrozenWorker:
    @pytest.fixture(autouse=True)
    def thawed(self, site: Site) -> Iterator[None]:
        """However a test ends, it leaves nobody frozen."""
        with site.fleet.impatient():
            yield
            site.fleet.wake()

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_it_wakes_up_at_a_boundary_and_changes_nothing(
        self, site: Site, api: Api, when: When
    ) -> None:
        thread, message = api.thread(), f"frozen-{when}"
        run = names.turn_id(thread, message)
        site.fleet.hit("take_step", when, run, signal=signal.SIGSTOP)
        screen = say_plain(api, thread, message)
        wait_until(lambda: site.fleet.seen(run, "take_step", "signal"))
        (frozen,) = site.fleet.seen(run, "take_step", "signal")

        assert site.result(run) is Outcome.ANSWERED
        os.kill(frozen.pid, signal.SIGCONT)

        woken = "failed" if when == "before" else "after"
        wait_until(lambda: any(s.pid == frozen.pid for s in site.fleet.of(run) if s.what == woken))
        check(api, run, screen.finished())
        assert site.asked(f"{message} ") == 1

    def test_it_wakes_up_in_midstream_and_its_words_are_refused(self, site: Site, api: Api) -> None:
        run = api.say(api.thread(), SLOWLY)
        screen = Screen(api, run)
        screen.sees("text.delta", 4)
        frozen = site.fleet.busy_with(run)
        os.kill(frozen, signal.SIGSTOP)
        # The server may hand some attempts to the frozen worker, whose polls are still open.
        wait_until(lambda: max(e.attempt for e in list(screen.events)) > 1, seconds=90)

        os.kill(frozen, signal.SIGCONT)
        wait_until(lambda: site.fleet.seen(run, "take_step", "failed"))

        check(api, run, screen.finished())
        refused = site.fleet.seen(run, "take_step", "failed")
        assert {failed.pid for failed in refused} == {frozen}

    def test_words_of_an_older_attempt_are_refused(self, site: Site, api: Api) -> None:
        run = api.say(api.thread(), SLOWLY)
        screen = Screen(api, run)
        screen.sees("text.delta")

        with pytest.raises(Superseded):
            asyncio.run(append(site, run, attempt=0))

        check(api, run, screen.finished())


async def append(site: Site, run: str, attempt: int) -> None:
    """What a worker does that speaks in an attempt of the first step."""
    database = database_of(site.stack.settings)
    await database.open()
    try:
        words = NewEvent(type=EventType.TEXT_DELTA, data={"text": "a ghost's words"})
        ref = RunRef(tenant_id="default", run_id=run)
        await Events(database).append(ref, 1, attempt, [words])
    finally:
        await database.close()


class TestManyMessages:
    def test_twenty_messages_in_one_thread_get_twenty_answers_in_order(
        self, site: Site, api: Api
    ) -> None:
        thread = api.thread()
        runs = [names.turn_id(thread, f"m{number:02}") for number in range(20)]
        site.fleet.hit("take_step", "before", runs[2])
        site.fleet.hit("ask_for_floor", "after", runs[8])
        site.fleet.hit("take_step", "after", runs[13])
        for number, run in enumerate(runs):
            text = f"message {number:02} {SLOWLY if number == 5 else ''}"
            assert api.say(thread, text, message_id=f"m{number:02}") == run
        middle = Screen(api, runs[5])
        middle.sees("text.delta", 3)
        site.fleet.kill(runs[5])

        screens = [Screen(api, run) for run in runs]
        for run, screen in zip(runs, screens, strict=True):
            check(api, run, screen.finished())
        assert not site.fleet.missed

        messages = api.messages(thread)
        assert [message["run_id"] for message in messages] == [r for r in runs for _ in "qa"]
        assert [message["role"] for message in messages] == ["user", "assistant"] * 20
        assert all(f"message {n:02}" in m["text"] for n, m in enumerate(messages[1::2]))
        assert not any(message["partial"] for message in messages)
        ends = [screen.events[-1].row["created_at"] for screen in screens]
        assert ends == sorted(ends)

    def test_the_same_message_twenty_times_at_once_is_one_turn(self, site: Site, api: Api) -> None:
        thread = api.thread()

        def say(_: object) -> str:
            return api.say(thread, "only once please", message_id="same")

        with ThreadPoolExecutor(20) as pool:
            runs = set(pool.map(say, range(20)))

        (run,) = runs
        check(api, run, Screen(api, run).finished())
        assert say(None) == run
        assert len(api.messages(thread)) == 2
        assert site.asked("only once please") == 1

        body = {"text": "other words", "message_id": "same"}
        refused = api.post(f"/api/v1/threads/{thread}/messages", json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "message_conflict")
        assert len(api.messages(thread)) == 2


class TestCancelledAtAnyMoment:
    def test_what_was_shown_is_what_is_kept(self, site: Site, api: Api) -> None:
        """The close of a turn races with the last words of the step that it stops."""
        steadily = f"[[fault:ok chunk_delay=0.3]] {WORDS}"
        screens = [Screen(api, api.say(api.thread(), steadily)) for _ in range(12)]

        def cancel(moment: int) -> None:
            wait_until(lambda: len(screens[moment].text.split()) > moment, 60)
            api.post(f"/api/v1/runs/{screens[moment].run_id}/cancel").raise_for_status()

        with ThreadPoolExecutor(12) as pool:
            list(pool.map(cancel, range(12)))

        for screen in screens:
            check(api, screen.run_id, screen.finished())
            assert screen.events[-1].data["outcome"] == "cancelled"


_WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'advisory' AND usename <> user"
_CUT_OFF = f"SELECT pg_terminate_backend(pid) FROM ({_WAITING}) AS waiting"


class TestWorkerKilledBetweenEffectAndRecord:
    @pytest.mark.gate
    def test_the_task_is_added_once(self, site: Site, api: Api) -> None:
        """The database holds the worker back at both places, so that it dies between them."""
        with site.owner() as first, site.owner() as second:
            lock = "SELECT pg_advisory_lock(hashtextextended('default/tasks/' || %s, 0))"
            first.execute(lock, [api.user])
            run = api.say(api.thread(), 'call add_task {"title": "milk"}')
            screen = Screen(api, run)
            screen.sees("tool.started")
            with second.transaction():
                second.execute("SELECT FROM tool_calls WHERE run_id = %s FOR UPDATE", [run])
                first.execute("SELECT pg_advisory_unlock_all()")
                added = "SELECT FROM todos WHERE user_id = %s"
                wait_until(lambda: first.execute(added, [api.user]).fetchall())
                site.fleet.kill(run, "call_tool")

        check(api, run, screen.finished())
        assert screen.count("tool.started") == 2
        assert tasks(api) == ["milk"]


def _deltas(screen: Screen, attempt: int) -> int:
    events = list(screen.events)
    return sum(event.type == "text.delta" and event.attempt == attempt for event in events)


def pause(events: list[Event]) -> float:
    """Seconds between the last words of an attempt that was lost and the next attempt's first."""
    times = [datetime.fromisoformat(e.row["created_at"]) for e in events if e.type == "text.delta"]
    return max((b - a).total_seconds() for a, b in pairwise(times))
