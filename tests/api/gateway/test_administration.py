"""The administration of models: routes, budgets, usage, prompts; who may, and what is refused."""

import csv
import io
from typing import Any
from uuid import uuid4

import pytest

from testing.problems import problem
from testing.prompts import prompts
from testing.stack import Api, Stack

BUDGETS, PROMPTS = "/api/v1/budgets", "/api/v1/prompts"
ROUTES, USAGE = "/api/v1/models/routes", "/api/v1/usage"


@pytest.fixture
def tenant() -> str:
    return f"t-{uuid4().hex[:12]}"


@pytest.fixture
def admin(stack: Stack, tenant: str) -> Api:
    return stack.client("boss", "admin", tenant)


class TestRoutes:
    def test_a_tenant_sets_a_route_and_goes_back(self, admin: Api) -> None:
        body = {"deployments": ["default"], "fallback": "Later."}
        admin.put(f"{ROUTES}/chat", json=body).raise_for_status()
        own = {item["name"]: item for item in admin.get(ROUTES).json()}["chat"]
        admin.delete(f"{ROUTES}/chat").raise_for_status()
        back = {item["name"]: item for item in admin.get(ROUTES).json()}["chat"]

        assert (own["source"], own["route"]["fallback"]) == ("tenant", "Later.")
        assert (back["source"], back["route"]["fallback"]) == ("settings", None)

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({"deployments": ["nobody"]}, "route_invalid"),
            ({"deployments": []}, "request_invalid"),
            ({"deployments": ["default"], "policy": "weighted"}, "route_invalid"),
            ({"deployments": ["default"], "policy": "dice"}, "request_invalid"),
        ],
    )
    def test_a_route_that_cannot_work_is_refused(
        self, admin: Api, body: dict[str, Any], code: str
    ) -> None:
        assert problem(admin.put(f"{ROUTES}/chat", json=body), 422)["code"] == code

    def test_deployments_show_neither_key_nor_address(self, admin: Api) -> None:
        answer = admin.get("/api/v1/models/deployments")

        names = {item["name"]: item for item in answer.json()}
        assert names["default"]["model"] == "openai/scripted"
        assert names["default"]["health"]["state"] == "closed"
        assert "key" not in names["default"]
        assert "http" not in answer.text
        assert "sk-" not in answer.text


class TestBudgets:
    def test_a_run_stops_before_it_spends_more(self, stack: Stack, admin: Api) -> None:
        admin.ask("what does it cost?")
        body = {"scope": "tenant", "hard_micros": 0}
        admin.put(f"{BUDGETS}/none", json=body).raise_for_status()

        text = f"and now? {uuid4().hex}"
        events = admin.ask(text)

        assert events[-1].data["outcome"] == "budget_exceeded"
        assert events[-1].data["error"]["code"] == "budget_exceeded"
        assert stack.journal(text) == []
        alerts = admin.get("/api/v1/alerts").json()["items"]
        assert [(a["kind"], a["subject"]) for a in alerts] == [("budget.exceeded", "none")]

    def test_a_budget_is_set_shown_and_removed(self, admin: Api) -> None:
        body = {"scope": "user", "period": "day", "soft_micros": 5, "downgrade_to": "fast"}
        made = admin.put(f"{BUDGETS}/u", json=body).raise_for_status().json()
        listed = admin.get(BUDGETS).json()
        admin.delete(f"{BUDGETS}/u").raise_for_status()

        assert listed == [made]
        assert (made["subject"], made["created_by"], made["spending"]) == ("*", "boss", [])
        problem(admin.get(f"{BUDGETS}/u"), 404)
        problem(admin.delete(f"{BUDGETS}/u"), 404)

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"scope": "tenant"}, 422),
            ({"scope": "planet", "hard_micros": 1}, 422),
            ({"scope": "tenant", "hard_micros": -1}, 422),
            ({"scope": "tenant", "soft_micros": 1, "downgrade_to": "nowhere"}, 404),
        ],
    )
    def test_a_budget_that_cannot_work_is_refused(
        self, admin: Api, body: dict[str, Any], status: int
    ) -> None:
        problem(admin.put(f"{BUDGETS}/x", json=body), status)

        assert admin.get(BUDGETS).json() == []


class TestUsage:
    def test_it_is_summed_by_group_and_each_sees_their_own(
        self, stack: Stack, admin: Api, tenant: str
    ) -> None:
        ann, bob = stack.client("ann", "viewer", tenant), stack.client("=bob", "viewer", tenant)
        run = ann.say(ann.thread(), "one two three")
        ann.finish(run)
        bob.ask("one two")

        by_user = admin.get(USAGE, params={"group_by": "user,feature"}).json()
        mine = ann.get(USAGE, params={"group_by": "run"}).json()
        text = admin.get(USAGE, params={"group_by": "user", "format": "csv"}).text

        assert {(i["user"], i["feature"], i["calls"]) for i in by_user["items"]} == {
            ("ann", "chat", 1),
            ("=bob", "chat", 1),
        }
        assert by_user["total"]["calls"] == 2
        assert [item["run"] for item in mine["items"]] == [run]
        assert mine["total"]["usage"]["input_tokens"] == ann.run(run)["usage"]["input_tokens"]
        assert {row["user"] for row in csv.DictReader(io.StringIO(text))} == {"ann", "'=bob"}

    def test_calls_are_paged_latest_first(self, admin: Api) -> None:
        runs = [admin.ask(text)[0].run_id for text in ("one", "two", "three")]

        seen, cursor = [], None
        while True:
            query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
            page = admin.get(f"{USAGE}/calls", params=query).raise_for_status().json()
            seen += [call["run_id"] for call in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                break

        assert seen == runs[::-1]
        text = admin.get(f"{USAGE}/calls", params={"limit": 1, "format": "csv"}).text
        assert [row["run_id"] for row in csv.DictReader(io.StringIO(text))] == seen

    @pytest.mark.parametrize(
        "query", [{"group_by": "mood"}, {"from": "2026-02-02", "to": "2026-02-01"}, {"from": "x"}]
    )
    def test_a_senseless_question_is_refused(self, admin: Api, query: dict[str, str]) -> None:
        problem(admin.get(USAGE, params=query), 422)


class TestPrompts:
    def test_a_version_is_drafted_approved_by_another_used_and_retired(
        self, stack: Stack, admin: Api, tenant: str
    ) -> None:
        author = stack.client("dora", "admin", tenant)
        drafted = author.post(f"{PROMPTS}/chat/versions", json={"text": "You are a pirate."})
        path = f"{PROMPTS}/chat/versions/{drafted.json()['version']}"

        assert drafted.json()["status"] == "draft"
        assert problem(author.post(f"{path}/activate"), 409)["code"] == "prompt_not_approved"
        assert problem(author.post(f"{path}/approve"), 409)["code"] == "approval_needs_another"
        assert admin.post(f"{path}/approve").json()["approved_by"] == "boss"
        assert admin.post(f"{path}/activate").json()["status"] == "active"
        assert admin.get(f"{PROMPTS}/chat").json()["active_version"] == "tenant.1"
        admin.ask(f"ahoy {tenant}")
        ((system, _),) = prompts(stack, f"ahoy {tenant}")
        assert system["content"] == "You are a pirate."
        (call,) = admin.get(f"{USAGE}/calls").json()["items"]
        assert (call["prompt"], call["prompt_version"]) == ("chat", "tenant.1")
        assert admin.post(f"{path}/retire").json()["status"] == "retired"
        assert admin.get(f"{PROMPTS}/chat").json()["active_version"] == "1"

    @pytest.mark.parametrize("text", ["", "  ", "Use {{ secrets }}."])
    def test_a_text_that_cannot_be_filled_in_is_refused(self, admin: Api, text: str) -> None:
        problem(admin.post(f"{PROMPTS}/chat/versions", json={"text": text}), 422)
        problem(admin.post(f"{PROMPTS}/nothing/versions", json={"text": "x"}), 404)

        assert admin.get(f"{PROMPTS}/chat").json()["versions"] == []

    def test_the_newest_active_version_replaces_the_one_before(
        self, stack: Stack, admin: Api, tenant: str
    ) -> None:
        author = stack.client("dora", "developer", tenant)
        for text in ("First.", "Second."):
            version = author.post(f"{PROMPTS}/chat/versions", json={"text": text}).json()["version"]
            admin.post(f"{PROMPTS}/chat/versions/{version}/approve").raise_for_status()
            admin.post(f"{PROMPTS}/chat/versions/{version}/activate").raise_for_status()

        versions = admin.get(f"{PROMPTS}/chat").json()["versions"]

        assert [(v["version"], v["status"]) for v in versions] == [(2, "active"), (1, "retired")]
