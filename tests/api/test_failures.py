"""What counts as a failure of a model: only that, whatever else an attempt may come to."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from activities.scoring.scorers import Scorers
from adapters.gateway.gateway import LiteLLMGateway
from adapters.gateway.prompts import prompt_files
from adapters.scoring.starter import starter_rules
from db.gateway.prompts import PromptVersions
from db.scoring.models import ScoringModels
from db.session import database_of
from domain.errors import ModelFailed
from domain.gateway.calls import MAX_MODEL_FAILURES, CallOrigin
from domain.gateway.completions import TextPart
from domain.scoring.experiments import Assignment
from domain.scoring.jobs import LeadJob
from domain.scoring.subjects import Subject
from domain.settings import Settings
from testing.gateways import gateway_on, origin, question, refusal_of, settings_with
from testing.provider import Provider
from testing.sales import Team
from testing.stack import Stack

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]
FAILS = "[[fault:unavailable]] hi"
HANGS = "[[fault:silence_mid]] hi"


@pytest.fixture
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Provider]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    async with Provider() as provider:
        yield provider


@pytest.fixture
def settings(stack: Stack, provider: Provider) -> Settings:
    """Two deployments of this test's own."""
    mark = uuid4().hex[:8]
    price = {"input": 1000, "output": 1000}
    deployments = {
        f"{model}-{mark}": {"base_url": provider.url, "price": price, "model": f"openai/{model}"}
        for model in ("a", "b")
    }
    routes = {
        "chat": {"deployments": list(deployments)},
        "extract": {"deployments": list(deployments)},
        "one": {"deployments": list(deployments)[:1]},
    }
    return settings_with(
        stack,
        deployments=json.dumps(deployments),
        routes=json.dumps(routes),
        breaker_minimum="1000",
    )


@pytest.fixture
async def gateway(settings: Settings) -> AsyncIterator[LiteLLMGateway]:
    async with gateway_on(settings) as gateway:
        yield gateway


class Step:
    """A step of a run, attempted again and again."""

    def __init__(self, gateway: LiteLLMGateway, tenant: str = "", number: int = 1) -> None:
        self.tenant = tenant or f"t-{uuid4().hex[:12]}"
        self._gateway = gateway
        self._number = number
        self._attempt = 0

    def next_attempt(self) -> CallOrigin:
        self._attempt += 1
        return origin(self.tenant, run_id="turn.a.b", step=self._number, attempt=self._attempt)

    async def refused(self, text: str, **more: Any) -> tuple[str, bool]:
        """Return how the next attempt fails, and whether another one may follow."""
        asked = question(text, **({"max_output": 5} | more))
        failure = await refusal_of(self._gateway, asked, self.next_attempt())
        assert failure is not None
        return failure.code, failure.retryable

    async def fails_for_ever(self, **more: Any) -> list[bool]:
        """Return, for each of the failures that are allowed, whether another attempt may follow."""
        codes = [await self.refused(FAILS, **more) for _ in range(MAX_MODEL_FAILURES)]
        assert {code for code, _ in codes} == {"model_unavailable"}
        return [retryable for _, retryable in codes]

    @asynccontextmanager
    async def speaking(self, text: str) -> AsyncIterator[None]:
        """Begin an attempt that has said something; it is given up at the end of the block."""
        asked = question(text, max_output=5)
        async with aclosing(self._gateway.stream(asked, self.next_attempt())) as parts:
            async for part in parts:
                if isinstance(part, TextPart):
                    break
            yield


ALLOWED = [True] * (MAX_MODEL_FAILURES - 1) + [False]


class TestStep:
    async def test_the_sixth_failure_is_the_last(self, gateway: LiteLLMGateway) -> None:
        assert await Step(gateway).fails_for_ever(model="one") == ALLOWED

    async def test_an_attempt_fails_once_however_many_deployments_it_asks(
        self, gateway: LiteLLMGateway, provider: Provider
    ) -> None:
        assert await Step(gateway).fails_for_ever() == ALLOWED
        assert len(provider.journal) == 2 * MAX_MODEL_FAILURES

    async def test_attempts_that_were_given_up_do_not_count(self, gateway: LiteLLMGateway) -> None:
        """One of them was refused by a deployment before the other began to speak."""
        step = Step(gateway)
        for _ in range(MAX_MODEL_FAILURES):
            async with step.speaking("[[fault:unavailable models=a]] [[fault:silence_mid]] hi"):
                pass

        assert await step.fails_for_ever() == ALLOWED

    async def test_attempts_that_only_wait_do_not_count(
        self, stack: Stack, gateway: LiteLLMGateway
    ) -> None:
        """A call that is open may spend the rest of the budget."""
        step = Step(gateway)
        budget = stack.client("boss", "admin", step.tenant)
        cap = {"scope": "tenant", "period": "day"}
        budget.put("/api/v1/budgets/cap", json=cap | {"hard_micros": 10_000}).raise_for_status()
        async with Step(gateway, step.tenant, number=2).speaking(HANGS):
            for _ in range(2 * MAX_MODEL_FAILURES):
                assert await step.refused(FAILS) == ("budget_reserved", True)
        budget.put("/api/v1/budgets/cap", json=cap | {"hard_micros": 10**9}).raise_for_status()

        assert await step.fails_for_ever() == ALLOWED

    async def test_an_answer_that_was_not_stored_does_not_count(
        self, gateway: LiteLLMGateway
    ) -> None:
        step = Step(gateway)
        for _ in range(MAX_MODEL_FAILURES):
            await gateway.ask(question("hi"), step.next_attempt())

        assert await step.fails_for_ever() == ALLOWED

    async def test_each_step_has_failures_of_its_own(self, gateway: LiteLLMGateway) -> None:
        first = Step(gateway)
        await first.fails_for_ever()

        assert await Step(gateway, first.tenant, number=2).fails_for_ever() == ALLOWED

    async def test_who_asks_outside_of_a_run_may_always_ask_again(
        self, gateway: LiteLLMGateway
    ) -> None:
        for _ in range(MAX_MODEL_FAILURES + 1):
            failure = await refusal_of(gateway, question(FAILS, "one"), origin("t-none"))
            assert failure is not None
            assert failure.retryable


class TestLeads:
    async def test_each_lead_and_model_has_failures_of_its_own(
        self, stack: Stack, settings: Settings, gateway: LiteLLMGateway, provider: Provider
    ) -> None:
        """All leads of a batch's chunk, and all shadows of a lead, are asked in one activity."""
        team = Team(stack)
        models = [team.model(name, judge={}) for name in ("judge", "rival")]
        provider.script.load({"default": {"kind": "unavailable"}})
        asked = [(lead, model) for lead in ("lead-1", "lead-2") for model in models]
        async with scorers_on(settings, gateway) as scorers:
            for late, (lead, model) in enumerate(asked):
                failures = [
                    await failure_of(scorers, team, lead, model, attempt)
                    for attempt in range(1 + late, 1 + late + MAX_MODEL_FAILURES)
                ]
                assert [failure.retryable for failure in failures] == ALLOWED


@asynccontextmanager
async def scorers_on(settings: Settings, gateway: LiteLLMGateway) -> AsyncIterator[Scorers]:
    """Build scorers as a worker has them."""
    database = database_of(settings)
    await database.open()
    try:
        prompts = PromptVersions(database, prompt_files())
        yield Scorers(ScoringModels(database, starter_rules()), gateway, prompts)
    finally:
        await database.close()


async def failure_of(
    scorers: Scorers, team: Team, lead: str, model: str, attempt: int
) -> ModelFailed:
    """Return why a model gave a lead no score in an attempt of a batch."""
    task = LeadJob(Subject(lead, {}), "", [Assignment(model, "", visible=True)])
    who = CallOrigin(
        tenant_id=team.tenant,
        user_id="ann",
        feature="score",
        run_id="batch.a",
        attempt=attempt,
        batch=True,
    )
    with pytest.raises(ModelFailed) as raised:
        await scorers.score(task, who)
    return raised.value
