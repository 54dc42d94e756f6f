"""Failover between providers, through the whole stack: who is asked, what a reader sees, the bill.

Three deployments share one provider, which fails for the models that a text names; a fourth has
nobody at its address, and a fifth speaks TLS to a server that does not.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pytest

from cli.stack.ports import choose
from testing.clients import check
from testing.stack import Api, Event, Stack, shown_text
from testing.stacks import Stacks
from testing.waiting import wait_until

PORT = choose(0, "")
LIMITS = {"first_token_seconds": 1.5, "silence_seconds": 1.5, "price": {"input": 1, "output": 2}}
DEPLOYMENTS = {name: {"model": f"openai/{name}", **LIMITS} for name in ("a", "b", "c")} | {
    "refused": {"model": "openai/a", "base_url": "http://127.0.0.1:9/v1", **LIMITS},
    "tls": {"model": "openai/a", "base_url": f"https://127.0.0.1:{PORT}/v1", **LIMITS},
}
FALLBACK = "We cannot answer at the moment."
ROUTES = {"chat": {"deployments": ["a", "b", "c"], "fallback": FALLBACK}}
ENVIRON = {
    "PERDURE_MODEL": "",
    "PERDURE_DEPLOYMENTS": json.dumps(DEPLOYMENTS),
    "PERDURE_ROUTES": json.dumps(ROUTES),
}
START, END = ["run.accepted", "run.started", "step.started"], ["step.finished", "run.finished"]
SPOKEN = [*START, "text.delta", *END]
SWITCHED = [*START, "model.switched", "text.delta", *END]
BROKEN = [*START, "text.superseded", "step.superseded", "text.delta", *END]
ALONE = [*START, "run.finished"]


@dataclass(frozen=True)
class Case:
    """A fault of the first deployment: what a late reader sees, and who was asked with what."""

    fault: str
    events: list[str]
    asked: list[tuple[str, str]]
    outcome: str = "answered"
    route: tuple[str, ...] = ("a", "b", "c")


def switched(fault: str, code: str) -> Case:
    return Case(f"{fault} models=a", SWITCHED, [("a", code), ("b", "ok")])


def broken(fault: str, code: str) -> Case:
    return Case(f"{fault} models=a", BROKEN, [("a", code), ("b", "ok")])


def refused(fault: str, code: str) -> Case:
    return Case(f"{fault} models=a", ALONE, [("a", code)], "failed")


def spoken(fault: str) -> Case:
    return Case(f"{fault} models=a", SPOKEN, [("a", "ok")])


CASES = {
    "429": switched("rate_limited", "model_rate_limited"),
    "401": switched("unauthorized", "model_credentials"),
    "400": refused("bad_request", "model_rejected"),
    "404": refused("not_found", "model_rejected"),
    "500": switched("internal_error", "model_unavailable"),
    "503": switched("unavailable", "model_unavailable"),
    "connection refused": Case(
        "ok", SWITCHED, [("refused", "model_unavailable"), ("b", "ok")], route=("refused", "b")
    ),
    "TLS error": Case(
        "ok", SWITCHED, [("tls", "model_unavailable"), ("b", "ok")], route=("tls", "b")
    ),
    "first token too late": switched("hang", "model_timeout"),
    "silence in the middle": broken("silence_mid", "model_timeout"),
    "reset in the middle": broken("reset_mid", "model_truncated"),
    "clean end in the middle": broken("cut_mid", "model_truncated"),
    "malformed chunk": broken("bad_chunk", "model_garbled"),
    "error in the middle": broken("error_event", "model_unavailable"),
    "a hundred identical chunks": spoken("identical chunks=100"),
    "slow drip": spoken("slow_drip chunk_delay=0.3"),
    "wrong finish reason": spoken("ok finish_reason=banana"),
    "empty stream": switched("empty_stream", "model_garbled"),
    "empty body": switched("empty_body", "model_garbled"),
    "a web page": switched("html", "model_garbled"),
    "tool call with broken JSON": switched("broken_call", "model_garbled"),
    "two of three dead": Case(
        "unavailable models=a,b",
        SWITCHED,
        [("a", "model_unavailable"), ("b", "model_unavailable"), ("c", "ok")],
    ),
    "all dead": Case(
        "unavailable models=a,b,c",
        [*START, "model.switched", "model.degraded", "text.delta", *END],
        [(name, "model_unavailable") for name in ("a", "b", "c")],
        "degraded",
    ),
}


@dataclass
class Talks:
    """One conversation for each case, all held at once, each in a tenant of its own."""

    stack: Stack
    apis: dict[str, Api]
    runs: dict[str, str]

    def events(self, name: str) -> list[Event]:
        """Return what somebody who comes late sees, and everybody else saw."""
        events = self.apis[name].finish(self.runs[name])
        check(self.apis[name], self.runs[name], events)
        return list(self.apis[name].events(self.runs[name]))

    def calls(self, name: str) -> list[dict[str, Any]]:
        """Return the bill of a run, oldest first."""
        return calls_of(self.apis[name], self.runs[name])


def calls_of(api: Api, run: str) -> list[dict[str, Any]]:
    answer = api.get("/api/v1/usage/calls", params={"run": run}).raise_for_status().json()
    items: list[dict[str, Any]] = answer["items"]
    return items[::-1]


@pytest.fixture(scope="module")
def talks(stacks: Stacks) -> Iterator[Talks]:
    with stacks.get("failover", ENVIRON) as stack:
        plain = stack.spawn([sys.executable, "-m", "testing.provider", "--port", str(PORT)])
        assert plain.stdout is not None
        assert plain.stdout.readline()
        stack.client().ask("the first call of a worker is a slow one")
        talks = Talks(stack, {}, {})
        for number, (name, case) in enumerate(CASES.items()):
            api = talks.apis[name] = stack.client(tenant=f"case-{number}", role="admin")
            if case.route != ("a", "b", "c"):
                body = {"deployments": case.route}
                api.put("/api/v1/models/routes/chat", json=body).raise_for_status()
            text = f"[[fault:{case.fault}]] tell me a story of some length"
            talks.runs[name] = api.say(api.thread(), text)
        yield talks


@pytest.mark.parametrize("name", CASES)
class TestTable:
    def test_readers_see_the_expected_events(self, talks: Talks, name: str) -> None:
        events = talks.events(name)

        assert [kind for kind, _ in groupby(event.type for event in events)] == CASES[name].events
        assert events[-1].data["outcome"] == CASES[name].outcome

    def test_the_expected_deployments_were_asked_and_billed(self, talks: Talks, name: str) -> None:
        talks.events(name)

        calls = talks.calls(name)

        assert [(call["deployment"], call["status"]) for call in calls] == CASES[name].asked
        run = talks.apis[name].run(talks.runs[name])
        assert run["cost_micros"] == sum(call["cost_micros"] for call in calls)

    def test_the_stored_answer_is_what_was_shown(self, talks: Talks, name: str) -> None:
        events = talks.events(name)

        _, thread, _ = talks.runs[name].split(".")
        stored = [m for m in talks.apis[name].messages(thread) if m["role"] == "assistant"]
        assert "".join(message["text"] for message in stored) == shown_text(events)
        assert not any(message["partial"] for message in stored)


class TestSwitch:
    def test_it_says_from_where_to_where_and_why(self, talks: Talks) -> None:
        events = talks.events("500")

        (switch,) = [event.data for event in events if event.type == "model.switched"]
        assert switch == {"from": "a", "to": "b", "code": "model_unavailable"}
        assert talks.calls("500")[1]["reason"] == "after a: model_unavailable"
        assert talks.apis["500"].run(talks.runs["500"])["model"] == "openai/b"

    def test_administrators_are_told(self, talks: Talks) -> None:
        talks.events("500")

        (alert,) = talks.apis["500"].get("/api/v1/alerts").json()["items"]

        assert (alert["kind"], alert["subject"]) == ("model.switched", "a")
        assert alert["data"] == {"from": "a", "to": "b", "code": "model_unavailable"}

    def test_words_that_were_taken_back_are_paid_for(self, talks: Talks) -> None:
        talks.events("reset in the middle")

        lost, _ = talks.calls("reset in the middle")

        assert lost["estimated"]
        assert lost["output_tokens"] > 0
        assert lost["cost_micros"] > 0

    def test_a_stand_in_says_that_it_is_one(self, talks: Talks) -> None:
        events = talks.events("all dead")

        assert shown_text(events) == FALLBACK
        assert events[-2].data["degraded"] is True
        assert talks.apis["all dead"].run(talks.runs["all dead"])["outcome"] == "degraded"


class TestRetryAfter:
    def test_the_fleet_leaves_a_provider_alone_for_as_long_as_it_asked(self, talks: Talks) -> None:
        api = talks.stack.client("paul", tenant="patient", role="admin")
        route = {"deployments": ["c", "b"]}
        api.put("/api/v1/models/routes/chat", json=route).raise_for_status()
        limited = "[[once:rate_limited retry_after=30 models=c]] be patient"
        first = api.say(api.thread(), limited)
        api.finish(first)

        second = api.say(api.thread(), "and now?")
        events = api.finish(second)

        assert [call["deployment"] for call in calls_of(api, first)] == ["c", "b"]
        assert [call["deployment"] for call in calls_of(api, second)] == ["b"]
        (switch,) = [event.data for event in events if event.type == "model.switched"]
        assert switch["code"] == "rate_limited"
        shown = api.get("/api/v1/models/deployments").json()
        (health,) = [item["health"] for item in shown if item["name"] == "c"]
        assert 0 < health["retry_in_seconds"] <= 30


class TestLostWorker:
    def test_the_tokens_of_a_killed_worker_are_billed_once(self, talks: Talks) -> None:
        api = talks.stack.client("kim", tenant="killed", role="admin")
        run = api.say(api.thread(), "[[once:slow_drip chunk_delay=0.4 models=a,b,c]] a long story")
        events = api.events(run)
        assert any(event.type == "text.delta" for event in events)

        os.kill(talks.stack.pid("worker-1"), signal.SIGKILL)
        rest = list(events)

        assert rest[-1].data["outcome"] == "answered"
        wait_until(lambda: all(call["finished_at"] for call in calls_of(api, run)))
        lost, *between, answered = calls = calls_of(api, run)
        assert (lost["status"], answered["status"]) == ("lost", "ok")
        assert "ok" not in [call["status"] for call in between]
        assert lost["output_tokens"] > 0
        assert api.run(run)["cost_micros"] == sum(call["cost_micros"] for call in calls)
