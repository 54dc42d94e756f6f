"""The gateway on a real database, through the real LiteLLM: breakers, limits, caches, policies."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal
from uuid import uuid4

import pytest
from pydantic import BaseModel, Field

from activities.gateway.structured import ask_for
from adapters.gateway.gateway import LiteLLMGateway
from adapters.gateway.prompts import prompt_files
from db.gateway.prompts import PromptVersions
from db.session import database_of
from domain.gateway.completions import ModelNotice, TextPart, ToolSpec
from domain.gateway.errors import AnswerInvalid, ModelBusy, RouteDown
from domain.settings import Settings
from testing.database import as_owner
from testing.gateways import (
    gateway_on,
    origin,
    parts_of,
    question,
    refusal_of,
    settings_with,
)
from testing.provider import Provider
from testing.provider_replies import ProviderAct
from testing.stack import Stack
from testing.waiting import wait_until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]
PRICE = {"input": 1000, "output": 1000}


@pytest.fixture
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Provider]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    async with Provider() as provider:
        yield provider


@pytest.fixture
def tenant() -> str:
    return f"t-{uuid4().hex[:12]}"


class OwnDeployments:
    """Deployments of a test's own: the fleet knows their health by their names."""

    def __init__(self, stack: Stack, provider: Provider) -> None:
        self.stack = stack
        self._provider = provider
        self._mark = uuid4().hex[:8]

    def name(self, short: str) -> str:
        return f"{short}-{self._mark}"

    def settings(
        self,
        deployments: dict[str, dict[str, Any]],
        routes: dict[str, dict[str, Any]] | None = None,
        **environ: str,
    ) -> Settings:
        base = {"base_url": self._provider.url, "price": PRICE}
        named = {
            self.name(short): base | {"model": f"openai/{short}"} | more
            for short, more in deployments.items()
        }
        routed = {
            name: route | {"deployments": [self.name(d) for d in route["deployments"]]}
            for name, route in (routes or {"chat": {"deployments": list(deployments)}}).items()
        }
        routing = {"deployments": json.dumps(named), "routes": json.dumps(routed)}
        return settings_with(self.stack, **routing, **environ)

    @asynccontextmanager
    async def gateway(
        self,
        deployments: dict[str, dict[str, Any]],
        routes: dict[str, dict[str, Any]] | None = None,
        **environ: str,
    ) -> AsyncIterator[LiteLLMGateway]:
        async with gateway_on(self.settings(deployments, routes, **environ)) as gateway:
            yield gateway


@pytest.fixture
def own(stack: Stack, provider: Provider) -> OwnDeployments:
    return OwnDeployments(stack, provider)


@asynccontextmanager
async def prompts_on(settings: Settings) -> AsyncIterator[PromptVersions]:
    database = database_of(settings)
    await database.open()
    try:
        yield PromptVersions(database, prompt_files())
    finally:
        await database.close()


def is_half_open(stack: Stack, name: str) -> bool:
    with as_owner(stack) as owner:
        query = "SELECT open_until < clock_timestamp() FROM deployment_health WHERE name = %s"
        row = owner.execute(query, [name]).fetchone()
    return row is not None and bool(row[0])


def put_budget(stack: Stack, tenant: str, **values: Any) -> None:
    api = stack.client("boss", "admin", tenant)
    api.put("/api/v1/budgets/cap", json=values).raise_for_status()


class TestBreaker:
    async def test_a_dead_deployment_costs_a_few_calls_and_is_tried_again(
        self, own: OwnDeployments, provider: Provider, tenant: str
    ) -> None:
        settings = own.settings(
            {"a": {}, "b": {}}, None, breaker_minimum="4", breaker_seconds="0.4"
        )
        async with gateway_on(settings) as one, gateway_on(settings) as two:
            for text in ("[[fault:unavailable models=a]]", "[[fault:unavailable models=a]]"):
                for gateway in (one, two) * 6:
                    await gateway.ask(question(text), origin(tenant))
            dead = Counter(entry.model for entry in provider.journal)
            while (await two.ask(question("hi"), origin(tenant))).model != "openai/a":
                pass

        assert dead["b"] == 24
        assert 4 <= dead["a"] <= 20
        alerts = own.stack.client("boss", "admin", tenant).get("/api/v1/alerts").json()["items"]
        assert {alert["kind"] for alert in alerts} == {"model.switched", "deployment.opened"}

    async def test_one_call_of_all_tries_a_deployment_that_was_open(
        self, own: OwnDeployments, provider: Provider, tenant: str
    ) -> None:
        async with own.gateway(
            {"a": {}}, None, breaker_minimum="2", breaker_seconds="0.2"
        ) as gateway:
            for _ in range(2):
                await refusal_of(gateway, question("[[fault:unavailable]]"), origin(tenant))
            refused = await refusal_of(gateway, question("hi"), origin(tenant))
            provider.script.default = ProviderAct(kind="unavailable")
            wait_until(lambda: is_half_open(own.stack, own.name("a")))
            many = (refusal_of(gateway, question("hi"), origin(tenant)) for _ in range(10))
            codes = Counter(error.code for error in await asyncio.gather(*many) if error)

        assert refused is not None
        assert isinstance(refused, RouteDown)
        assert refused.code == "model_busy"
        assert refused.retry_after is not None
        assert codes == {"model_busy": 9, "model_unavailable": 1}


class TestBudgets:
    async def test_parallel_calls_pass_a_cap_by_one_call_at_most(
        self, own: OwnDeployments, tenant: str
    ) -> None:
        put_budget(own.stack, tenant, scope="tenant", period="day", hard_micros=60_000)
        request = question("hello there", max_output=5)
        async with own.gateway({"a": {}}, None) as gateway:
            dearest = (await gateway.ask(request, origin(tenant))).cost_micros
            many = (refusal_of(gateway, request, origin(tenant)) for _ in range(100))
            refused = [error for error in await asyncio.gather(*many) if error]
            while (last := await refusal_of(gateway, request, origin(tenant))) is None:
                pass

        codes = {error.code for error in refused}
        assert codes <= {"budget_reserved", "budget_exceeded"}
        assert last.code == "budget_exceeded"
        assert not last.retryable
        api = own.stack.client("boss", "admin", tenant)
        (spending,) = api.get("/api/v1/budgets/cap").json()["spending"]
        assert spending["reserved_micros"] == 0
        assert 60_000 <= spending["spent_micros"] <= 60_000 + dearest
        total = api.get("/api/v1/usage").json()["total"]
        assert total["cost_micros"] == spending["spent_micros"]

    async def test_nothing_is_asked_once_a_users_budget_is_spent(
        self, own: OwnDeployments, provider: Provider, tenant: str
    ) -> None:
        put_budget(own.stack, tenant, scope="user", hard_micros=1)
        async with own.gateway({"a": {}}, None) as gateway:
            await gateway.ask(question("hi"), origin(tenant, "ann"))
            before = len(provider.journal)
            refused = await refusal_of(gateway, question("hi"), origin(tenant, "ann"))
            after = len(provider.journal)
            other = await refusal_of(gateway, question("hi"), origin(tenant, "bob"))

        assert refused is not None
        assert (refused.code, after) == ("budget_exceeded", before)
        assert other is None

    async def test_a_soft_limit_warns_once_and_leads_to_a_cheaper_route(
        self, own: OwnDeployments, tenant: str
    ) -> None:
        routes = {"chat": {"deployments": ["a"]}, "fast": {"deployments": ["b"]}}
        put_budget(own.stack, tenant, scope="feature", soft_micros=1, downgrade_to="fast")
        async with own.gateway({"a": {}, "b": {}}, routes) as gateway:
            first = await gateway.ask(question("hi"), origin(tenant))
            second = await parts_of(gateway, question("hi"), origin(tenant))
            third = await parts_of(gateway, question("hi"), origin(tenant))

        assert first.model == "openai/a"
        assert second[-1].model == third[-1].model == "openai/b"  # type: ignore[union-attr]
        notices = [part.type for part in (*second, *third) if isinstance(part, ModelNotice)]
        assert notices == ["budget.warned"]


class TestLimits:
    async def test_a_deployments_quota_is_shared_and_waiting_is_announced(
        self, own: OwnDeployments, provider: Provider, tenant: str
    ) -> None:
        settings = own.settings({"a": {"requests_per_minute": 3}})
        async with gateway_on(settings) as one, gateway_on(settings) as two:
            errors = [
                await refusal_of(gateway, question("hi"), origin(tenant))
                for gateway in (one, two, one, two)
            ]

        assert errors[:3] == [None] * 3
        last = errors[3]
        assert last is not None
        assert (type(last), last.code, last.retryable) == (ModelBusy, "model_busy", True)
        assert last.retry_after is not None
        assert 0 < last.retry_after.total_seconds() <= 61
        assert len(provider.journal) == 3

    async def test_batch_leaves_a_part_of_the_quota_to_those_who_wait(
        self, own: OwnDeployments, tenant: str
    ) -> None:
        async with own.gateway({"a": {"requests_per_minute": 4}}) as gateway:
            batch = [
                await refusal_of(gateway, question("hi"), origin(tenant, batch=True))
                for _ in range(3)
            ]
            chat = await refusal_of(gateway, question("hi"), origin(tenant))

        assert [error is None for error in batch] == [True, True, False]
        assert chat is None

    async def test_a_tenants_quota_is_its_own(self, own: OwnDeployments, tenant: str) -> None:
        async with own.gateway({"a": {}}, None, tenant_requests_per_minute="1") as gateway:
            first = await refusal_of(gateway, question("hi"), origin(tenant))
            second = await refusal_of(gateway, question("hi"), origin(tenant))
            other = await refusal_of(gateway, question("hi"), origin(f"{tenant}-b"))

        assert (first, other) == (None, None)
        assert second is not None
        assert second.code == "model_busy"


class TestPolicies:
    @pytest.mark.parametrize(
        ("policy", "more", "first"),
        [
            ("ordered", {}, "a"),
            ("cheapest", {}, "b"),
            ("weighted", {"weights": [0, 1]}, "b"),
        ],
    )
    async def test_the_policy_says_who_is_asked_and_why(
        self, own: OwnDeployments, tenant: str, policy: str, more: dict[str, Any], first: str
    ) -> None:
        deployments = {"a": {}, "b": {"price": {"input": 1, "output": 1}}}
        routes = {"chat": {"deployments": ["a", "b"], "policy": policy, **more}}
        async with own.gateway(deployments, routes) as gateway:
            end = await gateway.ask(question("hi"), origin(tenant))

        assert end.model == f"openai/{first}"
        assert end.note

    async def test_the_fastest_is_the_one_that_was_measured_so(
        self, own: OwnDeployments, provider: Provider, tenant: str
    ) -> None:
        deployments: dict[str, dict[str, Any]] = {"a": {}, "b": {}}
        routes = {"chat": {"deployments": ["a", "b"], "policy": "fastest"}}
        async with own.gateway(deployments, routes) as gateway:
            slow = question("[[fault:ok first_delay=0.3]]", model=own.name("a"))
            await gateway.ask(slow, origin(tenant))
            await gateway.ask(question("hi", model=own.name("b")), origin(tenant))
            end = await gateway.ask(question("hi"), origin(tenant))

        assert end.model == "openai/b"

    async def test_a_window_that_is_too_small_comes_last_however_cheap(
        self, own: OwnDeployments, tenant: str
    ) -> None:
        deployments = {"a": {"window": 512, "price": {"input": 0}}, "b": {}}
        routes = {"chat": {"deployments": ["a", "b"], "policy": "cheapest"}}
        async with own.gateway(deployments, routes) as gateway:
            short = await gateway.ask(question("hi"), origin(tenant))
            long = await gateway.ask(question("hi " * 2000), origin(tenant))

        assert (short.model, long.model) == ("openai/a", "openai/b")

    async def test_who_cannot_use_tools_is_not_asked_to(
        self, own: OwnDeployments, tenant: str
    ) -> None:
        tool = ToolSpec(name="add", description="Adds.", parameters={"type": "object"})
        async with own.gateway({"a": {"supports": ["json"]}, "b": {}}) as gateway:
            end = await gateway.ask(question("hi", tools=(tool,)), origin(tenant))

        assert end.model == "openai/b"


CACHED: dict[str, Any] = {"chat": {"deployments": ["a"], "cache": {"mode": "exact"}}}
SIMILAR: dict[str, Any] = {
    "chat": {"deployments": ["a"], "cache": {"mode": "semantic", "threshold": 0.3}}
}
SURE: dict[str, Any] = {"temperature": 0.0, "personal": False}


class TestCache:
    async def test_the_same_question_is_answered_again_for_nothing(
        self, own: OwnDeployments, provider: Provider, tenant: str
    ) -> None:
        request = question("How do I reset my password?", **SURE)
        async with own.gateway({"a": {}}, CACHED) as gateway:
            first = await gateway.ask(request, origin(tenant))
            again = await parts_of(gateway, request, origin(tenant, "bob"))

        notice, *texts, end = again
        assert isinstance(notice, ModelNotice)
        assert notice.data == {"source_call": first.call_id, "kind": "exact"}
        assert "".join(part.text for part in texts if isinstance(part, TextPart)) == first.text
        assert (end.cached, end.cost_micros) == (first.call_id, 0)  # type: ignore[union-attr]
        assert len(provider.journal) == 1
        api = own.stack.client("boss", "admin", tenant)
        (call,) = api.get("/api/v1/usage/calls", params={"status": "cached"}).json()["items"]
        assert (call["cache"], call["source_call"], call["user_id"]) == (
            "exact",
            first.call_id,
            "bob",
        )

    @pytest.mark.parametrize("other", ["tenant", "user", "temperature", "prompt"])
    async def test_another_question_is_asked(
        self, own: OwnDeployments, provider: Provider, tenant: str, other: str
    ) -> None:
        mine: dict[str, Any] = {
            "temperature": 0.0,
            "user_id": "ann",
            "prompt": "p",
            "prompt_version": "1",
        }
        changes: dict[str, dict[str, Any]] = {
            "user": {"user_id": "bob"},
            "temperature": {"temperature": 0.5},
            "prompt": {"prompt_version": "2"},
        }
        async with own.gateway({"a": {}}, CACHED) as gateway:
            await gateway.ask(question("hi", **mine), origin(tenant))
            request = question("hi", **(mine | changes.get(other, {})))
            who = origin(f"{tenant}-b" if other == "tenant" else tenant)
            await gateway.ask(request, who)

        assert len(provider.journal) == 2

    async def test_a_similar_question_gets_the_answer_unless_it_differs_in_substance(
        self, own: OwnDeployments, tenant: str
    ) -> None:
        async with own.gateway({"a": {}}, SIMILAR) as gateway:
            first = await gateway.ask(
                question("How can I reset my password?", **SURE), origin(tenant)
            )
            similar = await gateway.ask(
                question("how do I reset my password", **SURE), origin(tenant)
            )
            order = await gateway.ask(
                question("Cancel the order 1234 for me", **SURE), origin(tenant)
            )
            other = await gateway.ask(
                question("Cancel the order 1235 for me", **SURE), origin(tenant)
            )

        assert similar.cached == first.call_id
        assert order.cached is None
        assert other.cached is None

    async def test_an_old_answer_stands_in_when_all_is_down(
        self, own: OwnDeployments, provider: Provider, tenant: str
    ) -> None:
        routes = {"chat": CACHED["chat"] | {"stale": True}}
        request = question("What are your opening hours?", **SURE, may_degrade=True)
        async with own.gateway({"a": {}}, routes) as gateway:
            first = await gateway.ask(request, origin(tenant))
            with as_owner(own.stack) as owner:
                owner.execute(
                    "UPDATE answer_cache SET expires_at = now() - interval '1 minute' "
                    "WHERE tenant_id = %s",
                    [tenant],
                )
            provider.script.default = ProviderAct(kind="unavailable")
            end = await gateway.ask(request, origin(tenant))

        assert (end.degraded, end.cached, end.text) == (True, first.call_id, first.text)


class TestStandIn:
    async def test_only_who_can_use_a_stand_in_gets_one(
        self, own: OwnDeployments, tenant: str
    ) -> None:
        routes = {"chat": {"deployments": ["a"], "fallback": "Later."}}
        down = "[[fault:unavailable]]"
        async with own.gateway({"a": {}}, routes) as gateway:
            refused = await refusal_of(gateway, question(down), origin(tenant))
            end = await gateway.ask(question(down, may_degrade=True), origin(tenant))

        assert refused is not None
        assert refused.code == "model_unavailable"
        assert (end.text, end.degraded) == ("Later.", True)


class TestEmbeddings:
    async def test_each_text_is_embedded_once_in_batches_and_billed(
        self, own: OwnDeployments, provider: Provider, tenant: str
    ) -> None:
        routes = {"chat": {"deployments": ["a"]}, "embed": {"deployments": ["e"]}}
        texts = [f"text {'x' * number}" for number in range(70)]
        async with own.gateway({"a": {}, "e": {}}, routes) as gateway:
            first = await gateway.embed([*texts, texts[0]], origin(tenant))
            again = await gateway.embed([texts[3], "new"], origin(tenant))
            other = await gateway.embed([texts[3]], origin(f"{tenant}-b"))

        assert first == [[float(len(text)), 1.0] for text in (*texts, texts[0])]
        assert again == [[8.0, 1.0], [3.0, 1.0]]
        assert other == [[8.0, 1.0]]
        batches = [request["input"] for request in provider.script.requests]
        assert [len(batch) for batch in batches] == [64, 6, 1, 1]
        api = own.stack.client("boss", "admin", tenant)
        (sums,) = api.get("/api/v1/usage", params={"group_by": "feature"}).json()["items"]
        assert (sums["feature"], sums["calls"], sums["usage"]["input_tokens"]) == ("embed", 3, 71)

    async def test_without_a_key_similarity_of_words_is_known(
        self, own: OwnDeployments, provider: Provider, tenant: str
    ) -> None:
        texts = ["How do I reset my password?", "how can I reset the password", "Sell two pumps"]
        async with own.gateway({"a": {}}) as gateway:
            one, similar, other = await gateway.embed(texts, origin(tenant))

        def similarity(first: list[float], second: list[float]) -> float:
            return sum(a * b for a, b in zip(first, second, strict=True))

        assert len(one) == 384
        assert similarity(one, one) == pytest.approx(1)
        assert similarity(one, similar) > 0.8 > 0.3 > similarity(one, other)
        assert not provider.script.requests


class Rating(BaseModel):
    """A structured answer."""

    score: int = Field(ge=0, le=100)
    kind: Literal["hot", "cold"]


class TestStructured:
    @pytest.mark.parametrize("supports", [["json"], []])
    async def test_a_wrong_answer_is_repaired_once(
        self, own: OwnDeployments, provider: Provider, tenant: str, supports: list[str]
    ) -> None:
        provider.play(
            ProviderAct(text='{"score": 700, "kind": "hot"}'),
            ProviderAct(text='```json\n{"score": 70, "kind": "hot"}\n```'),
        )
        settings = own.settings({"a": {"supports": supports}})
        async with gateway_on(settings) as gateway, prompts_on(settings) as prompts:
            found = await ask_for(gateway, prompts, question("Score this."), origin(tenant), Rating)

        assert found.value == Rating(score=70, kind="hot")
        assert found.cost_micros > 0
        first, repair = provider.script.requests
        assert ("response_format" in first) == bool(supports)
        assert "less than or equal to 100" in json.dumps(repair["messages"])

    async def test_a_second_wrong_answer_is_an_error_that_quotes_nothing(
        self, own: OwnDeployments, provider: Provider, tenant: str
    ) -> None:
        provider.play(*[ProviderAct(text='{"score": 1, "kind": "secret-word"}')] * 2)
        settings = own.settings({"a": {}})
        async with gateway_on(settings) as gateway, prompts_on(settings) as prompts:
            with pytest.raises(AnswerInvalid) as failure:
                await ask_for(gateway, prompts, question("Score this."), origin(tenant), Rating)

        assert (failure.value.code, failure.value.retryable) == ("answer_invalid", False)
        assert "kind" in failure.value.detail
        assert "secret-word" not in failure.value.detail
