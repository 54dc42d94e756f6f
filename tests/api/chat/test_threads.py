"""Threads: found, named, put away and deleted, as their user sees it."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from testing.database import as_owner, row_counts
from testing.problems import problem
from testing.stack import Api, Stack
from testing.temporal_runs import is_open
from testing.waiting import wait_until

THREADS = "/api/v1/threads"
SLOW = "[[fault:slow_drip chunks=2000 chunk_delay=0.02]]"


@pytest.fixture
def user(stack: Stack) -> Api:
    """A user without threads."""
    return stack.client(f"user-{uuid.uuid4().hex}", tenant="threads")


def create(api: Api, title: str = "") -> dict[str, Any]:
    """Create a thread and return it."""
    row: dict[str, Any] = api.post(THREADS, json={"title": title}).raise_for_status().json()
    return row


def change(api: Api, thread: str, **fields: Any) -> dict[str, Any]:
    """Change a thread and return it."""
    answer = api.patch(f"{THREADS}/{thread}", json=fields)
    row: dict[str, Any] = answer.raise_for_status().json()
    return row


def read(api: Api, thread: str) -> dict[str, Any]:
    """Return a thread."""
    row: dict[str, Any] = api.get(f"{THREADS}/{thread}").raise_for_status().json()
    return row


def find(api: Api, **query: Any) -> list[str]:
    """Return the ids of one page of threads."""
    page = api.get(THREADS, params=query).raise_for_status().json()
    return [item["id"] for item in page["items"]]


def pages(api: Api, url: str, limit: int) -> Iterator[list[dict[str, Any]]]:
    """Yield a listing, page by page."""
    query: dict[str, Any] = {"limit": limit}
    while True:
        page = api.get(url, params=query).raise_for_status().json()
        yield page["items"]
        if page["next_cursor"] is None:
            return
        query["cursor"] = page["next_cursor"]


class TestCreate:
    def test_a_thread_is_its_users_and_can_be_read(self, user: Api) -> None:
        thread = create(user, "  Plans \n for  May ")

        assert thread["title"] == "Plans for May"
        assert thread["archived"] is False
        assert thread["user_id"].startswith("user-")
        assert read(user, thread["id"]) == thread

    def test_it_needs_no_body(self, user: Api) -> None:
        answer = user.post(THREADS)

        assert answer.status_code == 201
        assert answer.json()["title"] == ""


class TestFind:
    def test_the_latest_comes_first_and_a_message_makes_a_thread_the_latest(
        self, user: Api
    ) -> None:
        first, second = user.thread(), user.thread()
        assert find(user) == [second, first]

        user.ask("hello", first)

        assert find(user) == [first, second]

    def test_the_search_looks_into_titles_questions_and_answers(self, user: Api) -> None:
        titled = create(user, "The Quarterly report")["id"]
        asked = user.thread()
        user.ask("when is QUARTER day?", asked)
        other = create(user, "Something else")["id"]

        assert set(find(user, search="quarter")) == {titled, asked}
        assert find(user, search="Answer") == [asked]
        assert find(user, search="nowhere") == []
        assert set(find(user, search="")) == {titled, asked, other}

    @pytest.mark.parametrize("text", ["100%", "a_b", "back\\slash", "it's", "%", "_", "\\"])
    def test_the_search_takes_signs_literally(self, user: Api, text: str) -> None:
        titled, plain = (
            create(user, f"so {text} there")["id"],
            create(user, "100 a-b back it")["id"],
        )

        assert find(user, search=text) == [titled]
        assert plain in find(user)

    def test_archived_threads_are_listed_apart(self, user: Api) -> None:
        kept, put_away = user.thread(), user.thread()
        change(user, put_away, archived=True)

        assert find(user) == [kept]
        assert find(user, archived="true") == [put_away]
        assert find(user, archived="any") == [put_away, kept]

    def test_pages_neither_repeat_nor_skip_while_new_threads_arrive(self, user: Api) -> None:
        old = [user.thread() for _ in range(23)]
        seen = []
        for page in pages(user, THREADS, 5):
            seen += [item["id"] for item in page]
            user.thread()

        assert seen == old[::-1]

    def test_two_pages_that_are_exactly_full_are_all(self, user: Api) -> None:
        for _ in range(4):
            user.thread()

        assert [len(page) for page in pages(user, THREADS, 2)] == [2, 2]


class TestTitle:
    def test_the_first_line_of_the_first_message_names_the_thread(self, user: Api) -> None:
        thread = user.thread()
        user.ask("\n  Where   is the\ttrain? \nIt is late.", thread)
        user.ask("And now?", thread)

        assert read(user, thread)["title"] == "Where is the train?"

    def test_a_long_title_is_cut_at_a_word(self, user: Api) -> None:
        thread = user.thread()
        user.ask("word " * 30, thread)

        title = read(user, thread)["title"]
        assert len(title) <= 61
        assert title.endswith("word…")

    def test_a_name_that_was_given_stays(self, user: Api) -> None:
        named, renamed = create(user, "Mine")["id"], user.thread()
        change(user, renamed, title="Mine too")
        user.ask("hello", named)
        user.ask("hello", renamed)

        assert read(user, named)["title"] == "Mine"
        assert read(user, renamed)["title"] == "Mine too"
        assert change(user, named, title="Other")["title"] == "Other"

    def test_what_is_left_out_stays(self, user: Api) -> None:
        thread = create(user, "Mine")["id"]

        assert change(user, thread, archived=True)["title"] == "Mine"
        assert change(user, thread, title="Other")["archived"] is True
        assert change(user, thread, archived=False)["archived"] is False
        assert change(user, thread)["title"] == "Other"


def call_statuses(stack: Stack, tenant: str, run: str) -> list[str]:
    """Return how the model calls of a run ended."""
    query = "SELECT status FROM model_calls WHERE tenant_id = %s AND run_id = %s"
    with as_owner(stack) as owner:
        return [status for (status,) in owner.execute(query, [tenant, run])]


class TestDelete:
    def test_a_deleted_thread_is_gone_with_all_that_was_said(self, user: Api, stack: Stack) -> None:
        kept = user.thread()
        user.ask("stay", kept)
        before = row_counts(stack, "threads")
        thread = user.thread()
        run = user.say(thread, 'call add_task {"title": "milk"}')
        user.finish(run)

        assert user.delete(f"{THREADS}/{thread}").status_code == 204

        for path in (f"{THREADS}/{thread}", f"{THREADS}/{thread}/messages", f"/api/v1/runs/{run}"):
            problem(user.get(path), 404)
        problem(user.delete(f"{THREADS}/{thread}"), 404, "thread_unknown")
        after = row_counts(stack, "threads")
        gone = ("threads", "messages", "runs", "run_events", "turns", "tool_calls", "decisions")
        assert {name: after[name] for name in gone} == {name: before[name] for name in gone}
        assert len(user.messages(kept)) == 2

    def test_a_running_turn_is_stopped_and_leaves_nothing_behind(
        self, user: Api, stack: Stack
    ) -> None:
        before = row_counts(stack, "threads")
        thread = user.thread()
        runs = [user.say(thread, f"{SLOW} {number}") for number in range(2)]
        events = user.events(runs[0])
        assert any(event.type == "text.delta" for event in events)

        assert user.delete(f"{THREADS}/{thread}").status_code == 204

        wait_until(lambda: not any(is_open(stack, run, "threads") for run in runs))
        wait_until(lambda: last_call(stack, f"{SLOW} 0")["state"] == "disconnected")
        assert last_call(stack, f"{SLOW} 1") == {}
        problem(user.get(f"{THREADS}/{thread}"), 404)
        after = row_counts(stack, "threads")
        assert after.pop("audit_entries") == before.pop("audit_entries") + 1
        # The bill of what was said holds no words, and stays.
        assert after.pop("model_calls") == before.pop("model_calls") + 1
        wait_until(lambda: call_statuses(stack, "threads", runs[0]) == ["cancelled"])
        assert after == before

    def test_who_watches_a_deleted_run_is_let_go(self, user: Api) -> None:
        thread = user.thread()
        run = user.say(thread, SLOW)
        events = user.events(run)
        assert next(events).seq == 1

        user.delete(f"{THREADS}/{thread}")

        assert "run.finished" not in [event.type for event in events]


class TestMessages:
    def test_pages_are_the_conversation_in_order(self, user: Api) -> None:
        thread = user.thread()
        for number in range(4):
            user.ask(f'call add_task {{"title": "{number}"}}', thread)

        whole = user.messages(thread)
        paged = [item for page in pages(user, f"{THREADS}/{thread}/messages", 3) for item in page]

        assert paged == whole
        assert [item["role"] for item in whole] == ["user", "assistant", "assistant"] * 4
        asked = [item["text"] for item in whole if item["role"] == "user"]
        assert asked == [f'call add_task {{"title": "{number}"}}' for number in range(4)]
        (call,) = whole[1]["tool_calls"]
        assert (call["name"], call["arguments"], call["status"]) == (
            "add_task",
            {"title": "0"},
            "ok",
        )
        assert len({item["id"] for item in whole}) == 12


def last_call(stack: Stack, text: str) -> dict[str, Any]:
    """Return the provider's last request for this text, if it had one."""
    return next((entry for entry in stack.journal()[::-1] if entry["user_text"] == text), {})
