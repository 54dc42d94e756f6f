"""Conversations: what Perdure promises about a message. Read from top to bottom; no edge cases."""

import os
import signal
from uuid import uuid4

import httpx
import pytest

from testing.clients import Screen
from testing.stack import Api, Stack
from testing.waiting import wait_until

SLOWLY = "[[fault:ok chunk_delay=0.05]] " + " ".join(f"word{number}" for number in range(30))


@pytest.fixture
def api(stack: Stack) -> Api:
    """The API, called by an administrator of a tenant of their own."""
    return stack.client("ann", "admin", f"t-{uuid4().hex[:12]}")


def test_a_message_is_answered(api: Api) -> None:
    """A message starts a run, which ends with the answer; both stand in the thread."""
    thread = api.post("/api/v1/threads").json()["id"]
    run = api.post(f"/api/v1/threads/{thread}/messages", json={"text": "hello"}).json()["run_id"]

    (*_, last) = api.events(run)

    assert last.type == "run.finished"
    question, answer = api.get(f"/api/v1/threads/{thread}/messages").json()["items"]
    assert (question["role"], question["text"]) == ("user", "hello")
    assert (answer["role"], answer["text"]) == ("assistant", last.data["text"])


def test_a_reader_who_comes_back_gets_the_rest(api: Api) -> None:
    """Events are numbered without gaps: `Last-Event-ID` says which one was seen last."""
    events = api.ask("hello")

    rest = list(api.events(events[0].run_id, after=events[1].seq))

    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert rest == events[2:]


def test_the_same_message_is_the_same_run(api: Api) -> None:
    """Whoever has no answer sends again, with the same id: nothing happens twice."""
    thread = api.thread()

    runs = {api.say(thread, "pay 10 euros", message_id="pay-1") for _ in range(3)}

    assert len(runs) == 1
    api.finish(runs.pop())
    assert [message["role"] for message in api.messages(thread)] == ["user", "assistant"]


def test_messages_are_answered_one_after_the_other(api: Api) -> None:
    """A thread has one floor: who comes meanwhile waits for it."""
    thread = api.thread()
    first, second = (api.say(thread, text) for text in (SLOWLY, "and then?"))

    ends = [api.finish(run)[-1] for run in (first, second)]

    answers = [message["run_id"] for message in api.messages(thread)[1::2]]
    assert answers == [first, second]
    assert [end.data["outcome"] for end in ends] == ["answered", "answered"]


def test_a_model_calls_tools(api: Api) -> None:
    """What a model asks for is done, once, and it hears the result."""
    events = api.ask('call add_task {"title": "buy milk"}')

    assert "buy milk" in events[-1].data["text"]
    (call,) = (event.data for event in events if event.type == "tool.finished")
    assert (call["name"], call["status"]) == ("add_task", "ok")


def test_a_person_decides_about_a_tool_call(api: Api) -> None:
    """A call that asks first waits, for days if it must; the digest says what was decided about."""
    api.ask('call add_task {"title": "buy milk"}')
    run = api.say(api.thread(), 'call delete_task {"number": 1}')
    wait_until(lambda: api.run(run)["status"] == "waiting")
    (question,) = api.run(run)["decisions"]

    verdict = {"verdict": "deny", "digest": question["digest"]}
    api.post(f"/api/v1/runs/{run}/decisions/{question['id']}", json=verdict).raise_for_status()

    (call,) = (event.data for event in api.finish(run) if event.type == "tool.finished")
    assert call["status"] == "denied"


def test_a_cancelled_run_keeps_what_was_shown(api: Api) -> None:
    """Cancelling stops the model; the words that stood on the screen stay in the thread."""
    thread = api.thread()
    screen = Screen(api, api.say(thread, SLOWLY))
    screen.sees("text.delta", 2)

    api.post(f"/api/v1/runs/{screen.run_id}/cancel").raise_for_status()

    assert screen.finished()[-1].data["outcome"] == "cancelled"
    assert api.messages(thread)[-1]["text"] == screen.text != ""


def test_a_message_can_join_the_run_that_speaks(api: Api) -> None:
    """With `policy: steer` a message does not wait: the run hears it in its next step."""
    thread = api.thread()
    screen = Screen(api, api.say(thread, SLOWLY))
    screen.sees("text.delta")

    assert api.say(thread, "make it short", policy="steer") == screen.run_id

    assert screen.finished()[-1].data["steps"] == 2
    assert "make it short" in screen.text


def test_an_answer_survives_the_death_of_its_worker(stack: Stack, api: Api) -> None:
    """Another worker takes over: the words of the lost attempt are taken back, and said again."""
    screen = Screen(api, api.say(api.thread(), SLOWLY))
    screen.sees("text.delta", 3)

    os.kill(stack.pid("worker-1"), signal.SIGKILL)

    assert screen.finished()[-1].data["outcome"] == "answered"
    assert screen.count("step.superseded") == 1
    assert screen.text.endswith("word29")


def test_a_budget_ends_what_costs_too_much(api: Api) -> None:
    """A limit that is reached refuses the next call to a model, before it is made."""
    budget = {"scope": "tenant", "period": "day", "hard_micros": 0}
    api.put("/api/v1/budgets/nothing", json=budget).raise_for_status()

    assert api.ask("hello")[-1].data["outcome"] == "budget_exceeded"


def test_a_stranger_sees_nothing(stack: Stack, api: Api) -> None:
    """What belongs to another tenant does not exist."""
    thread, stranger = api.thread(), stack.client("eve", "admin", "others")

    answer: httpx.Response = stranger.get(f"/api/v1/threads/{thread}/messages")

    assert (answer.status_code, answer.json()["code"]) == (404, "thread_unknown")
