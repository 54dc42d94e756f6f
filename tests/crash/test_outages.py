"""Outages: the API, Temporal and PostgreSQL are killed, workflows are terminated; nobody notices
more than a pause."""

import logging
import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx
import psutil
import psycopg
import pytest

from domain import names
from domain.runs.runs import Outcome
from testing.clients import Screen, answer, answers, check
from testing.crash_site import SLOWLY, WORDS, Site, decide, requested, tasks
from testing.provider_replies import counted
from testing.stack import Api
from testing.waiting import wait_until

# Words of a stream that is not over before the blow comes, 10 ms each.
_COUNTED = 500
_log = logging.getLogger("recovery")


@pytest.fixture
def api(site: Site, request: pytest.FixtureRequest) -> Api:
    return site.user(request.node.nodeid)


def insist(api: Api, thread: str, message: str, text: str) -> str:
    """Send a message until it is accepted, as a client does that has no answer yet."""

    def accepted() -> bool:
        try:
            path = f"/api/v1/threads/{thread}/messages"
            status = api.post(path, json={"text": text, "message_id": message}).status_code
        except httpx.TransportError:
            return False
        assert status in (202, 503), status
        return status == 202

    wait_until(accepted, seconds=60)
    return names.turn_id(thread, message)


def kill(site: Site, name: str) -> int:
    """SIGKILL a process of the stack; returns its pid."""
    pid = site.stack.pid(name)
    os.kill(pid, signal.SIGKILL)
    return pid


def wait_for_successor(site: Site, name: str, pid: int) -> None:
    """Until the supervisor has started a killed process again."""
    wait_until(lambda: site.stack.pid(name) != pid, seconds=60)


@contextmanager
def frozen_temporal(site: Site) -> Iterator[int]:
    """Temporal hears and says nothing inside."""
    temporal = site.stack.pid("temporal")
    os.kill(temporal, signal.SIGSTOP)
    try:
        yield temporal
    finally:
        if psutil.pid_exists(temporal):
            os.kill(temporal, signal.SIGCONT)


class TestApiKilled:
    @pytest.mark.gate
    def test_whoever_reconnects_reads_the_rest(self, site: Site, api: Api) -> None:
        run = api.say(api.thread(), SLOWLY)
        first, second = Screen(api, run), Screen(api, run)
        first.sees("text.delta", 3)

        before = len(first.events)
        wait_for_successor(site, "api", kill(site, "api"))
        wait_until(lambda: answers(api))
        back = time.monotonic()
        wait_until(lambda: len(first.events) > before)
        _log.info("recovery api: %.1f s from ready to the next event", time.monotonic() - back)

        check(api, run, first.finished(), second.finished())
        assert first.count("step.superseded") == 0, "the worker went on undisturbed"

    def test_a_message_whose_api_died_before_it_was_started_is_answered(
        self, site: Site, api: Api
    ) -> None:
        """Temporal is frozen, so that the message is on record and its workflow is not."""
        alone, insisting = api.thread(), api.thread()
        with frozen_temporal(site), ThreadPoolExecutor() as pool:
            pool.submit(api.say, alone, "hello", message_id="m")
            pool.submit(insist, api, insisting, "m", "hello")
            wait_until(lambda: all(len(api.messages(t)) == 1 for t in (alone, insisting)))
            wait_for_successor(site, "api", kill(site, "api"))

        for thread in (insisting, alone):
            run = names.turn_id(thread, "m")
            check(api, run, Screen(api, run).finished())
            assert len(api.messages(thread)) == 2


class TestApiStartedWithoutTemporal:
    def test_it_accepts_messages_and_answers_them_later(self, site: Site, api: Api) -> None:
        thread = api.thread()
        with frozen_temporal(site):
            wait_for_successor(site, "api", kill(site, "api"))
            run = insist(api, thread, "early", "asked of an API that never met Temporal")

        check(api, run, Screen(api, run).finished())
        assert len(api.messages(thread)) == 2


class TestTemporalKilled:
    @pytest.mark.gate
    def test_a_turn_that_was_running_ends_well(self, site: Site, api: Api) -> None:
        api.ask('call add_task {"title": "milk"}')
        speaking, calling = api.thread(), api.thread()
        first = Screen(api, api.say(speaking, SLOWLY))
        text = 'call update_task {"number": 1, "title": "oats"}'
        second = Screen(api, api.say(calling, text))
        question = requested(second)
        first.sees("text.delta", 3)

        killed = kill(site, "temporal")
        decide(api, second.run_id, question, "approve")
        wait_for_successor(site, "temporal", killed)

        for screen in (first, second):
            check(api, screen.run_id, screen.finished())
            assert site.result(screen.run_id) is Outcome.ANSWERED
        assert tasks(api) == ["oats"]

    def test_messages_are_accepted_while_it_is_away_and_answered_when_it_is_back(
        self, site: Site, api: Api
    ) -> None:
        thread = api.thread()
        with frozen_temporal(site) as temporal:
            runs = [api.say(thread, f"message {number}") for number in range(2)]
            assert api.get("/ready").status_code == 503
            os.kill(temporal, signal.SIGKILL)

        for number, run in enumerate(runs):
            check(api, run, Screen(api, run).finished())
            assert answer(api, run).endswith(f"message {number}")
        assert len(api.messages(thread)) == 4


class TestPostgresKilled:
    @pytest.mark.gate
    def test_all_that_was_accepted_under_load_is_done_once(self, site: Site) -> None:
        load = Load(site, "postmaster")
        load.start()
        load.goes_on()

        begun = time.monotonic()
        kill(site, "postgres")
        wait_until(lambda: answers(load.users[0]), seconds=60)
        _log.info("recovery postgres: %.1f s until ready", time.monotonic() - begun)

        load.check()

    def test_lost_connections_lose_nothing(self, site: Site) -> None:
        load = Load(site, "storm")
        load.start()
        for _ in range(8):
            load.goes_on()
            with site.owner() as connection:
                lost = connection.execute(_STORM).fetchall()
            assert lost

        load.check()


class TestPostgresLostInMidstream:
    """Whatever a reader saw of one attempt is what one call said, from its first word on."""

    @pytest.mark.parametrize("blow", ["a backend", "all backends", "the postmaster"])
    def test_no_word_stands_behind_a_hole(self, site: Site, api: Api, blow: str) -> None:
        """One of three answers waits for a lock when the blow comes, and words wait behind it."""
        text = f"[[fault:counting chunks={_COUNTED} chunk_delay=0.01]] {blow}"
        others = [Screen(api, api.say(api.thread(), text)) for _ in range(2)]
        for screen in others:
            screen.sees("text.delta")
        run = api.say(api.thread(), text)
        steady, leaving = Screen(api, run), Screen(api, run, leaves_at=2)
        steady.sees("text.delta")

        with suppress(psycopg.OperationalError), site.owner() as owner, owner.transaction():
            owner.execute("SELECT FROM runs WHERE id = %s FOR UPDATE", [run])
            wait_until(lambda: owner.execute(_WAITING).fetchall())
            if blow == "the postmaster":
                kill(site, "postgres")
                wait_until(lambda: not owner.execute("SELECT 1"))
            else:
                owner.execute(_STORM if blow == "all backends" else _CUT_OFF)
        wait_until(lambda: answers(api), seconds=60)
        leaving.come_back()

        check(api, run, steady.finished(), leaving.finished())
        for screen in others:
            check(api, screen.run_id, screen.finished())
        # A process that has lost its postmaster may yet end the append that waited.
        assert blow == "the postmaster" or steady.count("step.superseded") > 0
        calls = [entry for entry in site.stack.journal() if entry["user_text"] == text]
        sent = [counted(call["number"], min(call["sent"] - 1, _COUNTED)) for call in calls]
        for screen in (*others, steady, leaving):
            for attempt, words in words_of(screen).items():
                assert any(said.startswith(words) for said in sent), (attempt, words)


def words_of(screen: Screen) -> dict[int, str]:
    """What somebody who watched all the time has read of each attempt."""
    words: dict[int, str] = defaultdict(str)
    for event in screen.events:
        if event.type == "text.delta":
            words[event.attempt] += event.data["text"]
    return words


class TestTerminatedFromOutside:
    def test_the_api_tells_the_truth_and_the_next_turn_runs(self, site: Site, api: Api) -> None:
        first, second = self.two_turns(site, api)

        assert api.run(first.run_id)["outcome"] == "terminated"

        assert first.finished()[-1].data["outcome"] == "terminated"
        assert first.text.startswith("Answer")
        check(api, first.run_id, first.events)
        check(api, second.run_id, second.finished())
        assert answer(api, second.run_id).endswith("the next one")

    def test_the_next_turn_takes_over_though_nobody_looks(self, site: Site, api: Api) -> None:
        first, second = self.two_turns(site, api)

        check(api, second.run_id, second.finished())
        check(api, first.run_id, first.finished())
        assert api.run(first.run_id)["outcome"] == "terminated"

    def two_turns(self, site: Site, api: Api) -> tuple[Screen, Screen]:
        """One that was terminated while it spoke, and one that waits for it."""
        thread = api.thread()
        first = Screen(api, api.say(thread, f"[[fault:ok chunk_delay=1]] {WORDS}"))
        second = Screen(api, api.say(thread, "the next one"))
        first.sees("text.delta", 3)
        wait_until(lambda: site.fleet.seen(second.run_id, "ask_for_floor", "after"))
        site.terminate(first.run_id)
        return first, second


class TestUnsafeTool:
    @pytest.mark.parametrize(("verdict", "payments"), [("approve", 2), ("deny", 1)])
    def test_it_is_repeated_only_if_a_person_says_so(
        self, site: Site, api: Api, verdict: str, payments: int
    ) -> None:
        payee = f"payee-{verdict}"
        run = api.say(api.thread(), f'call bank_pay {{"to": "{payee}"}}')
        screen = Screen(api, run)
        question = requested(screen)
        assert question["reason"] == "unsafe"
        with site.slow_bank():
            decide(api, run, question, "approve")
            wait_until(lambda: site.payments(payee) == 1)
            site.fleet.kill(run, "call_tool")
            question = requested(screen, 2)
            assert (question["reason"], question["arguments"]) == ("ambiguous", {"to": payee})
            assert api.run(run)["status"] == "waiting"
            decide(api, run, question, verdict)
            wait_until(lambda: site.payments(payee) == payments)

        check(api, run, screen.finished())
        assert site.payments(payee) == payments
        told = "Nobody knows" if verdict == "deny" else f"paid {payee}"
        assert told in answer(api, run)


_STORM = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'perdure_app'
"""
_WAITING = """
SELECT pid FROM pg_stat_activity WHERE usename = 'perdure_app' AND wait_event_type = 'Lock'
"""
_CUT_OFF = f"SELECT pg_terminate_backend(pid) FROM ({_WAITING}) AS waiting"


class Load:
    """Some users who each send messages that add tasks, one after the other, at the same time."""

    _USERS = 4
    _MESSAGES = 5

    def __init__(self, site: Site, name: str) -> None:
        self.users = [site.user(f"{name}-{number}") for number in range(self._USERS)]
        self._threads = [user.thread() for user in self.users]
        self._screens: list[list[Screen]] = [[] for _ in self.users]
        self._pool = ThreadPoolExecutor(self._USERS)
        self._sent: list[Future[None]] = []

    def start(self) -> None:
        self._sent = [self._pool.submit(self._send, n) for n in range(self._USERS)]

    def goes_on(self) -> None:
        """Wait for a few events more than there have been."""
        seen = self._seen()
        wait_until(lambda: self._seen() > seen + 3 or self._is_over(), seconds=60)

    def check(self) -> None:
        """Everything was answered once and in order, and each task was added once."""
        for sent in self._sent:
            sent.result(60)
        for user, thread, screens in zip(self.users, self._threads, self._screens, strict=True):
            for screen in screens:
                check(user, screen.run_id, screen.finished())
            said = [m["text"] for m in user.messages(thread) if m["role"] == "user"]
            titles = [f"task-{number}" for number in range(self._MESSAGES)]
            assert said == [self._text(title) for title in titles]
            assert tasks(user) == titles

    def _send(self, number: int) -> None:
        user, thread = self.users[number], self._threads[number]
        for message in range(self._MESSAGES):
            title = f"task-{message}"
            run = insist(user, thread, title, self._text(title))
            self._screens[number].append(Screen(user, run))

    def _text(self, title: str) -> str:
        return f'[[fault:ok chunk_delay=0.02]] call add_task {{"title": "{title}"}}'

    def _seen(self) -> int:
        return sum(len(screen.events) for screens in self._screens for screen in screens)

    def _is_over(self) -> bool:
        screens = [screen for screens in self._screens for screen in screens]
        complete = len(screens) == self._USERS * self._MESSAGES
        return complete and all(screen.count("run.finished") for screen in screens)
