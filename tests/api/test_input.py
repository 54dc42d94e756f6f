"""Bad input: a clear problem, and nothing has changed."""

import base64
import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from testing.api_routes import Endpoint, guarded
from testing.database import row_counts
from testing.problems import problem
from testing.stack import Api, Stack

TENANT = "careful"
THREADS = "/api/v1/threads"
RUNS = "/api/v1/runs"
LIMIT = 64 * 1024
ODD = ["\ufffd", "%00", "..", "%2e%2e%2f", "a%2Fb", "a\u00e9b", "'; --", "x" * 1000, "%ff", "%20"]
NOT_JSON = {
    "nothing": b"",
    "no json": b"{",
    "not utf-8": b'{"text": "\xff\xfe"}',
    "text": b"hello",
    "deep": b"[" * 50_000,
    "huge number": b'{"text": ' + b"9" * 5000 + b"}",
}
TAKING_A_BODY = [pytest.param(e, id=e.name) for e in guarded() if e.body is not None]


CURSORS: list[Any] = [
    [],
    {},
    None,
    7,
    ["a", "b"],
    [None, None],
    [None, {}],
    ["2020-01-01", {}],
    ["2020-01-01", 7],
    ["2020-01-01", "a\0"],
    ["0001-01-01T00:00:00+23:59", "a"],
    [1, 2, "3"],
    [1, True, 3],
    [1, 2**40, 3],
    [None, 1, 1],
]


def cursor_of(parts: Any) -> str:
    """Return a cursor that has the form of ours."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.fixture(scope="module")
def place(stack: Stack) -> dict[str, str]:
    """A thread with a run that has ended."""
    api = stack.client(tenant=TENANT)
    thread = api.thread()
    run = api.say(thread, "hello")
    api.finish(run)
    return {"thread_id": thread, "run_id": run}


@pytest.fixture
def ann(stack: Stack, place: dict[str, str]) -> Iterator[Api]:
    """Ann, none of whose requests may change anything."""
    assert place
    before = row_counts(stack, TENANT)
    yield stack.client(tenant=TENANT, role="admin")
    assert row_counts(stack, TENANT) == before


def may_be_empty(endpoint: Endpoint) -> bool:
    """Return whether an endpoint does well without a body."""
    return endpoint.name == f"POST {THREADS}" or endpoint.path.endswith("/pause")


class TestBodies:
    @pytest.mark.parametrize(
        ("endpoint", "name"),
        [
            pytest.param(endpoint, name, id=f"{endpoint.name} {name}")
            for endpoint in guarded()
            for name in NOT_JSON
            if endpoint.body and (name != "nothing" or not may_be_empty(endpoint))
        ],
    )
    def test_what_is_no_json_is_refused(
        self, ann: Api, place: dict[str, str], endpoint: Endpoint, name: str
    ) -> None:
        headers = {"Content-Type": "application/json"}
        url = endpoint.url(**place)
        answer = ann.request(endpoint.method, url, content=NOT_JSON[name], headers=headers)

        refused = problem(answer, 422 if name == "nothing" else 400)
        assert refused["code"] == ("request_invalid" if name == "nothing" else "body_invalid")

    @pytest.mark.parametrize("endpoint", TAKING_A_BODY)
    @pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
    def test_a_mebibyte_is_too_large(
        self, ann: Api, place: dict[str, str], endpoint: Endpoint, chunked: bool
    ) -> None:
        parts = [b'{"text": "', b"x" * 2**20, b'"}']
        body = iter(parts) if chunked else b"".join(parts)
        headers = {"Content-Type": "application/json"}

        answer = ann.request(endpoint.method, endpoint.url(**place), content=body, headers=headers)

        problem(answer, 413, "body_too_large")

    def test_mcp_takes_no_mebibyte_either(self, ann: Api) -> None:
        for body in (b"x" * 2**20, iter([b"x" * 2**19, b"x" * 2**19])):
            headers = {"Content-Type": "application/json", "Accept": "application/json"}
            problem(ann.post("/mcp", content=body, headers=headers), 413, "body_too_large")

    @pytest.mark.parametrize(
        ("path", "body", "field"),
        [
            ("messages", {}, "body.text"),
            ("messages", {"text": 7}, "body.text"),
            ("messages", {"text": None}, "body.text"),
            ("messages", {"text": ["a"]}, "body.text"),
            ("messages", {"text": "a", "policy": "shout"}, "body.policy"),
            ("messages", {"text": "a", "message_id": "a b"}, "body.message_id"),
            ("messages", {"text": "a", "message_id": "a\n"}, "body.message_id"),
            ("messages", {"text": "a", "message_id": "x" * 65}, "body.message_id"),
            ("messages", {"text": "a", "message_id": ""}, "body.message_id"),
            ("messages", {"text": "a", "message_id": "a.1"}, "body.message_id"),
            ("messages", {"text": "a\0b"}, "body.text"),
            ("messages", {"text": "a\ud800b"}, "body.text"),
            ("messages", [], "body"),
            ("messages", "text", "body"),
            ("change", {"title": 7}, "body.title"),
            ("change", {"title": "a\0b"}, "body.title"),
            ("change", {"title": "a\udc00b"}, "body.title"),
            ("change", {"title": "   "}, "body.title"),
            ("change", {"title": "x" * 201}, "body.title"),
            ("change", {"archived": "perhaps"}, "body.archived"),
            ("create", {"title": "a\0b"}, "body.title"),
            ("create", {"title": {"a": 1}}, "body.title"),
            ("create", {"title": "x" * 201}, "body.title"),
            ("decide", {"verdict": "perhaps", "digest": "x"}, "body.verdict"),
            ("decide", {"verdict": "approve"}, "body.digest"),
            ("todo", {"message": 7}, "body.message"),
            ("todo", {"message": "a\0b"}, "body.message"),
            ("todo", {"message": "a", "conversation_id": 7}, "body.conversation_id"),
            ("todo", {"message": "a", "conversation_id": "a\ud800"}, "body.conversation_id"),
        ],
    )
    def test_a_wrong_field_is_named(
        self, ann: Api, place: dict[str, str], path: str, body: Any, field: str
    ) -> None:
        answer = send(ann, place, path, body)

        refused = problem(answer, 422, "request_invalid")
        assert field in [error["path"] for error in refused["errors"]]
        assert field in refused["detail"]

    @pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u2003"])
    @pytest.mark.parametrize("path", ["messages", "todo"])
    def test_a_message_without_words_is_refused(
        self, ann: Api, place: dict[str, str], path: str, text: str
    ) -> None:
        field = "text" if path == "messages" else "message"
        problem(send(ann, place, path, {field: text}), 422, "text_empty")

    @pytest.mark.parametrize("text", ["x" * (LIMIT + 1), "\u00e9" * (LIMIT // 2) + "x"])
    @pytest.mark.parametrize("path", ["messages", "todo"])
    def test_a_text_is_counted_in_bytes(
        self, ann: Api, place: dict[str, str], path: str, text: str
    ) -> None:
        field = "text" if path == "messages" else "message"
        problem(send(ann, place, path, {field: text}), 413, "text_too_long")

    def test_the_longest_text_is_answered(self, stack: Stack) -> None:
        api = stack.client(tenant="long")
        thread = api.thread()
        text = "\u00e9" * (LIMIT // 2)

        events = api.ask(text, thread)

        assert events[-1].data["outcome"] == "answered"
        assert api.messages(thread)[0]["text"] == text


class TestIds:
    @pytest.mark.parametrize("text", ["unknown", *ODD])
    def test_an_unknown_id_is_not_found(self, ann: Api, text: str) -> None:
        odd = text if "%" in text else quote(text, safe="")
        paths = [
            ("GET", f"{THREADS}/{odd}"),
            ("PATCH", f"{THREADS}/{odd}"),
            ("DELETE", f"{THREADS}/{odd}"),
            ("GET", f"{THREADS}/{odd}/messages"),
            ("POST", f"{THREADS}/{odd}/messages"),
            ("GET", f"{RUNS}/{odd}"),
            ("GET", f"{RUNS}/{odd}/events"),
            ("POST", f"{RUNS}/{odd}/cancel"),
            ("POST", f"{RUNS}/{odd}/decisions/{odd}"),
        ]
        body = {"text": "a", "title": "a", "verdict": "deny", "digest": "a"}
        for method, path in paths:
            answer = ann.request(method, path, json=body if method in ("POST", "PATCH") else None)
            if not answer.is_redirect:
                assert answer.status_code in (404, 405, 422), (method, path, answer.text)
                problem(answer, answer.status_code)

    @pytest.mark.parametrize("text", ["unknown", "a\0b", "x" * 1000, "../.."])
    def test_an_unknown_conversation_is_not_found(self, ann: Api, text: str) -> None:
        body = {"message": "hello", "conversation_id": text}
        answer = ann.post("/api/ann/chat", json=body)

        problem(answer, 422 if "\0" in text else 404)


class TestQueries:
    @pytest.mark.parametrize("limit", ["0", "101", "abc", "-1", "1.5", "9" * 30, ""])
    @pytest.mark.parametrize("path", [THREADS, RUNS, "messages"])
    def test_a_limit_is_a_small_number(
        self, ann: Api, place: dict[str, str], path: str, limit: str
    ) -> None:
        answer = ann.get(listing(path, place), params={"limit": limit})

        assert "query.limit" in problem(answer, 422, "request_invalid")["detail"]

    @pytest.mark.parametrize(
        "cursor",
        [
            "garbage",
            "\u00e9",
            "a\0b",
            "=" * 100,
            "x" * 500,
            *map(cursor_of, CURSORS),
        ],
    )
    @pytest.mark.parametrize("path", [THREADS, RUNS, "messages"])
    def test_a_cursor_that_is_not_ours_is_refused(
        self, ann: Api, place: dict[str, str], path: str, cursor: str
    ) -> None:
        problem(ann.get(listing(path, place), params={"cursor": cursor}), 422)

    @pytest.mark.parametrize(
        ("path", "query"),
        [
            (THREADS, {"archived": "perhaps"}),
            (THREADS, {"search": "a\0b"}),
            (THREADS, {"search": "x" * 201}),
            (RUNS, {"status": "perhaps"}),
            (RUNS, {"outcome": "perhaps"}),
            (RUNS, {"kind": "perhaps"}),
            (RUNS, {"subject_id": "a\0b"}),
        ],
    )
    def test_a_filter_that_cannot_be_is_refused(
        self, ann: Api, path: str, query: dict[str, str]
    ) -> None:
        problem(ann.get(path, params=query), 422)

    @pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
    @pytest.mark.parametrize("seq", ["1000000", "999999999", "2147483648", "-1", "abc", "1.5", "²"])
    def test_an_event_that_is_not_there_is_refused(
        self, ann: Api, place: dict[str, str], accept: str, seq: str
    ) -> None:
        url = f"{RUNS}/{place['run_id']}/events"
        header = {b"Accept": accept.encode(), b"Last-Event-ID": seq.encode()}

        problem(ann.get(url, headers=header), 422)
        problem(ann.get(url, params={"after": seq}, headers={"Accept": accept}), 422)


class TestNoise:
    def test_no_request_is_ever_our_fault(self, stack: Stack, place: dict[str, str]) -> None:
        dice = random.Random(20261121)
        api = stack.client(tenant=TENANT, role="guest")
        for _ in range(300):
            endpoint = dice.choice(guarded())
            ids = {name: _noise(dice) for name in ("run_id", "thread_id", "user_id", "decision_id")}
            url = endpoint.url(**(ids | (place if dice.random() < 0.5 else {})))
            query = {dice.choice(["limit", "cursor", "after", "search"]): _noise(dice)}
            answer = api.request(
                endpoint.method,
                url,
                params=query,
                content=json.dumps({"text": _noise(dice), _noise(dice): [_noise(dice)]}),
                headers={"Accept": "application/json", "Last-Event-ID": "1"},
            )
            assert answer.status_code < 500, (endpoint.name, url, query, answer.text)
            if answer.is_client_error:
                problem(answer, answer.status_code)


def send(api: Api, place: dict[str, str], path: str, body: Any) -> Any:
    """Send a body, as it is, to the endpoint of this name."""
    method, url = {
        "create": ("POST", THREADS),
        "messages": ("POST", f"{THREADS}/{place['thread_id']}/messages"),
        "change": ("PATCH", f"{THREADS}/{place['thread_id']}"),
        "decide": ("POST", f"{RUNS}/{place['run_id']}/decisions/1-0"),
        "todo": ("POST", "/api/ann/chat"),
    }[path]
    headers = {"Content-Type": "application/json"}
    return api.request(method, url, content=json.dumps(body), headers=headers)


def listing(path: str, place: dict[str, str]) -> str:
    """Return the address of a listing."""
    return f"{THREADS}/{place['thread_id']}/messages" if path == "messages" else path


def _noise(dice: random.Random) -> str:
    alphabet = "a1-_.%/\\'\"{}[]:;,\u00e9\u4e2d\U0001f600 \t"
    return quote("".join(dice.choices(alphabet, k=dice.randint(0, 30))), safe="")
