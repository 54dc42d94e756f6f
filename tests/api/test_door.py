"""The API's door: who may ask what, and whose things they see."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest

from db.identity.tenants import create_key, create_tenant, revoke_key
from domain.identity.principals import Role, first_role, scopes_of
from testing.api_routes import Endpoint, endpoints, guarded, private
from testing.database import settings_of, url_of
from testing.problems import problem
from testing.stack import Api, Stack

GUARDED = [pytest.param(endpoint, id=endpoint.name) for endpoint in guarded()]
OF_A_THING = [
    pytest.param(endpoint, id=endpoint.name)
    for endpoint in guarded()
    if ("{thread_id}" in endpoint.path or "{run_id}" in endpoint.path)
    and "/scoring/" not in endpoint.path
]
NEEDING_A_ROLE = [
    pytest.param(endpoint, id=endpoint.name)
    for endpoint in guarded()
    if first_role(endpoint.scopes[0]) > Role.GUEST
]


def ask(api: httpx.Client, endpoint: Endpoint, **ids: str) -> httpx.Response:
    """Use an endpoint as a client does who wants JSON."""
    headers = {"Accept": "application/json"}
    return api.request(endpoint.method, endpoint.url(**ids), json=endpoint.body, headers=headers)


@pytest.fixture(scope="module")
def stranger(stack: Stack) -> Iterator[httpx.Client]:
    """Somebody without credentials."""
    with httpx.Client(base_url=stack.ready["api"], verify=False, timeout=30) as client:
        yield client


@pytest.fixture
def running(stack: Stack) -> Iterator[dict[str, str]]:
    """Bob's thread, with a run that waits for a silent model."""
    bob = stack.client("bob")
    thread = bob.thread()
    yield {"thread_id": thread, "run_id": bob.say(thread, "[[fault:hang]]")}
    bob.delete(f"/api/v1/threads/{thread}")


class TestRoutes:
    def test_the_walk_finds_the_routes_and_all_of_ours_ask_for_a_scope(self) -> None:
        assert {
            "POST /api/v1/threads/{thread_id}/messages",
            "GET /api/v1/runs/{run_id}/events",
            "POST /api/{user_id}/chat",
            "POST /mcp",
        } <= {endpoint.name for endpoint in endpoints()}
        assert [endpoint.name for endpoint in guarded() if len(endpoint.scopes) != 1] == []

    @pytest.mark.parametrize("endpoint", [pytest.param(e, id=e.name) for e in private()])
    def test_a_stranger_is_not_answered(self, stranger: httpx.Client, endpoint: Endpoint) -> None:
        answer = ask(stranger, endpoint)

        problem(answer, 401, "credentials_missing")
        assert answer.headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize("endpoint", NEEDING_A_ROLE)
    def test_a_lower_role_is_told_which_one_it_takes(
        self, stack: Stack, endpoint: Endpoint
    ) -> None:
        (scope,) = endpoint.scopes
        needed = first_role(scope)
        below = max(role for role in Role if role < needed)
        assert scope not in scopes_of(below)

        refused = problem(ask(stack.client(role=below.name), endpoint), 403, "scope_missing")

        assert refused["scope"] == scope
        assert needed.name.lower() in refused["detail"]

    @pytest.mark.parametrize("endpoint", OF_A_THING)
    @pytest.mark.parametrize(
        ("user", "tenant", "role"),
        [("bob", "elsewhere", "admin"), ("carol", "default", "developer")],
        ids=["another tenant", "another user"],
    )
    def test_what_belongs_to_another_does_not_exist(
        self,
        stack: Stack,
        running: dict[str, str],
        endpoint: Endpoint,
        user: str,
        tenant: str,
        role: str,
    ) -> None:
        problem(ask(stack.client(user, role, tenant), endpoint, **running), 404)

        assert stack.client("bob").run(running["run_id"])["status"] == "running"
        assert stack.client("bob").get(f"/api/v1/threads/{running['thread_id']}").json()["title"]

    @pytest.mark.parametrize("endpoint", OF_A_THING)
    def test_a_manager_reaches_other_users_things(
        self, stack: Stack, running: dict[str, str], endpoint: Endpoint
    ) -> None:
        answer = ask(stack.client("max", "manager"), endpoint, **running)

        if "{decision_id}" in endpoint.path:
            problem(answer, 404, "decision_unknown")
        elif "{message_id}" in endpoint.path:
            problem(answer, 404, "message_unknown")
        else:
            assert answer.is_success, answer.text

    def test_nobody_chats_as_somebody_else(self, stack: Stack) -> None:
        for role in ("developer", "manager", "admin"):
            answer = stack.client("max", role).post("/api/bob/chat", json={"message": "hello"})
            problem(answer, 403, "user_mismatch")

    def test_lists_show_what_is_the_callers(self, stack: Stack, running: dict[str, str]) -> None:
        def threads(api: Api) -> list[str]:
            return [item["id"] for item in api.get("/api/v1/threads").json()["items"]]

        def runs(api: Api) -> list[str]:
            page = api.get("/api/v1/runs", params={"subject_id": running["thread_id"]}).json()
            return [item["id"] for item in page["items"]]

        assert threads(stack.client("bob"))[0] == running["thread_id"]
        assert runs(stack.client("bob")) == [running["run_id"]]
        assert runs(stack.client("max", "manager")) == [running["run_id"]]
        for api in (stack.client("carol"), stack.client("bob", "admin", "elsewhere")):
            assert running["thread_id"] not in threads(api)
            assert runs(api) == []


class TestCredentials:
    @pytest.mark.parametrize("form", ["Authorization", "X-API-Key"])
    def test_an_api_key_opens_the_door(
        self, stack: Stack, stranger: httpx.Client, form: str
    ) -> None:
        key = stack.ready["api_key"]
        headers = {form: f"Bearer {key}" if form == "Authorization" else key}

        assert stranger.get("/api/v1/threads", headers=headers).status_code == 200

    def test_a_key_is_its_users_with_its_role_and_nothing_once_revoked(
        self, stack: Stack, stranger: httpx.Client
    ) -> None:
        owner, secret = url_of(stack, owner=True), settings_of(stack).secret.get_secret_value()
        create_tenant(owner, secret, "keyed", "Keyed")
        keys = [create_key(owner, secret, "keyed", "kim", Role.GUEST, "test") for _ in range(2)]
        revoke_key(owner, secret, "keyed", keys[1].split("_")[2])

        good, revoked = ({"X-API-Key": key} for key in keys)

        assert stranger.get("/api/v1/runs", headers=good).status_code == 200
        problem(stranger.post("/api/v1/threads", headers=good), 403)
        problem(stranger.get("/api/v1/runs", headers=revoked), 401, "credentials_invalid")

    @pytest.mark.parametrize(
        ("claims", "code"),
        [
            pytest.param({"exp": 1}, "token_expired", id="expired"),
            pytest.param({"exp": None}, "token_invalid", id="never expires"),
            pytest.param({"tenant": None}, "token_invalid", id="no tenant"),
            pytest.param({"sub": None}, "token_invalid", id="no user"),
            pytest.param({"sub": ""}, "token_invalid", id="empty user"),
            pytest.param({"sub": "a\0b"}, "token_invalid", id="odd user"),
            pytest.param({"tenant": "a/b"}, "token_invalid", id="odd tenant"),
            pytest.param({"tenant": "default'--"}, "token_invalid", id="sql in tenant"),
            pytest.param({"role": "god"}, "token_invalid", id="unknown role"),
        ],
    )
    def test_a_token_with_a_wrong_claim_is_refused(
        self, stack: Stack, stranger: httpx.Client, claims: dict[str, Any], code: str
    ) -> None:
        good = {"sub": "ann", "tenant": "default", "role": "admin", "exp": int(time.time()) + 60}
        wrong = {k: v for k, v in (good | claims).items() if v is not None}
        secret = settings_of(stack).secret.get_secret_value()

        answer = stranger.get("/api/v1/threads", headers=bearer(jwt.encode(wrong, secret)))

        problem(answer, 401, code)
        headers = bearer(jwt.encode(good, secret))
        assert stranger.get("/api/v1/threads", headers=headers).status_code == 200

    def test_a_token_that_we_did_not_sign_is_refused(
        self, stack: Stack, stranger: httpx.Client
    ) -> None:
        claims = {"sub": "ann", "tenant": "default", "role": "admin", "exp": int(time.time()) + 60}
        signed = jwt.encode(claims, settings_of(stack).secret.get_secret_value())
        head, body, proof = signed.split(".")
        forgeries = [
            jwt.encode(claims, "x" * 32),
            jwt.encode(claims, "", algorithm="none"),
            jwt.encode(claims, settings_of(stack).secret.get_secret_value() * 2, "HS512"),
            f"{head}.{body}.",
            f"{head}.{jwt.encode(claims | {'sub': 'bob'}, 'x' * 32).split('.')[1]}.{proof}",
            "a.b.c",
        ]
        for token in forgeries:
            problem(stranger.get("/api/v1/threads", headers=bearer(token)), 401, "token_invalid")

    @pytest.mark.parametrize(
        "text",
        ["x", "pdr_", "pdr_default_x_y", "pdr_nobody_x_y", "pdr_a/b_x_y", "pdr_" + "x" * 3000],
    )
    def test_any_other_text_is_no_key(
        self, stack: Stack, stranger: httpx.Client, text: str
    ) -> None:
        problem(stranger.get("/api/v1/threads", headers={"X-API-Key": text}), 401)
        problem(stranger.get("/api/v1/threads", headers={"Authorization": f"Bearer {text}"}), 401)
        problem(stranger.get("/api/v1/threads", headers={"Authorization": f"Basic {text}"}), 401)
        assert stack.client().get("/api/v1/threads").status_code == 200

    def test_empty_headers_are_no_credentials(self, stranger: httpx.Client) -> None:
        for headers in ({"X-API-Key": ""}, {"Authorization": ""}, {"Authorization": "Bearer"}):
            answer = stranger.get("/api/v1/threads", headers=headers)
            problem(answer, 401, "credentials_missing")


class TestPublic:
    def test_health_and_figures_need_no_key(self, stranger: httpx.Client) -> None:
        assert stranger.get("/health").json()["status"] == "ok"
        assert stranger.get("/ready").json() == {
            "status": "ok",
            "database": "ok",
            "temporal": "ok",
        }
        stranger.get("/api/v1/threads")
        assert 'route="/api/v1/threads"' in stranger.get("/metrics").text
        assert (
            "/api/v1/threads/{thread_id}/messages" in stranger.get("/openapi.json").json()["paths"]
        )

    def test_a_path_or_method_that_is_not_there_is_a_problem(self, stranger: httpx.Client) -> None:
        problem(stranger.get("/api/v1/nothing"), 404, "route_unknown")
        problem(stranger.put("/api/v1/threads"), 405, "method_not_allowed")
        problem(stranger.get("/mcp"), 405, "method_not_allowed")


def bearer(token: str) -> dict[str, str]:
    """Return the header of a token."""
    return {"Authorization": f"Bearer {token}"}
