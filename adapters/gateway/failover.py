"""Failover: deployments asked one after another until one answers, each call opened and settled."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog

from activities.gateway.ports import ModelCallStore
from adapters.gateway.call import DeploymentCall
from adapters.gateway.errors import CALLERS_FAULT
from adapters.gateway.routing import RoutePlan, Routing
from domain.errors import ModelFailed, Unavailable
from domain.gateway.calls import (
    CallOrigin,
    CallSettlement,
    Downgrade,
    NewModelCall,
    OpenedModelCall,
)
from domain.gateway.completions import CallUsage, ModelNotice, ModelPart, ModelRequest, TextPart
from domain.gateway.errors import (
    ContextTooLong,
    ModelBusy,
    ModelCredentialsRefused,
    ModelGarbled,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelTruncated,
    ModelUnavailable,
    RouteDown,
)
from domain.gateway.routes import Candidate
from domain.runs.events import EventType
from domain.settings import Settings

# Another deployment may do better; any other failure would come back from it.
_WORTH_ANOTHER = (
    *(ModelUnavailable, ModelTimeout, ModelRateLimited, ModelTruncated),
    *(ModelGarbled, ModelCredentialsRefused),
)
# The provider refused before it worked: no tokens were used.
_FREE = (ModelRateLimited, ModelCredentialsRefused, ModelRejected, ContextTooLong)
_AT_ONCE = timedelta(milliseconds=1)
_log = structlog.get_logger(__name__)


class AllDeploymentsDown(Exception):
    """Every deployment of a route has failed, or is known to, before a word was streamed.

    `failure` is what the caller must hear of, unless a stand-in answers.
    """

    def __init__(self, failure: ModelFailed) -> None:
        super().__init__(failure.detail)
        self.failure = failure


@dataclass
class FailoverState:
    """A request on its way through its candidates, and the failures that it met so far."""

    origin: CallOrigin
    request: ModelRequest
    plan: RoutePlan
    failed: dict[str, str] = field(default_factory=dict)
    last: ModelFailed | None = None
    downgraded: bool = False
    announced: set[str] = field(default_factory=set)


class Failover:
    """The switch to another deployment: at once before the first token, and in the caller's next
    attempt after it."""

    def __init__(self, settings: Settings, calls: ModelCallStore, routing: Routing) -> None:
        self._settings = settings
        self._calls = calls
        self._routing = routing

    async def answer(self, state: FailoverState) -> AsyncGenerator[ModelPart]:
        """Ask until one deployment answers: notices, texts and a Completion.

        Raises ModelFailed, or AllDeploymentsDown.
        """
        while True:
            opened = await self._open(state)
            for notice in _notices(state, opened):
                yield notice
            if isinstance(opened, Downgrade):
                await self._downgrade(state, opened.route)
                continue
            candidate = state.plan.candidates[opened.index]
            begun = False
            try:
                async with aclosing(self._ask(state, candidate, opened)) as parts:
                    async for part in parts:
                        begun = True
                        yield part
                return
            except _WORTH_ANOTHER as failed:
                _pass_over(state, candidate, failed, begun=begun)

    async def _open(self, state: FailoverState) -> OpenedModelCall | Downgrade:
        plan, request = state.plan, state.request
        call = NewModelCall(
            origin=state.origin,
            route=plan.name,
            candidates=plan.candidates,
            input_tokens=plan.input_tokens,
            output_tokens=plan.output_tokens,
            failed=state.failed,
            may_downgrade=not state.downgraded,
            prompt=request.prompt,
            prompt_version=request.prompt_version,
        )
        try:
            return await self._calls.open(call)
        except RouteDown as down:
            raise AllDeploymentsDown(state.last or down) from None
        except ModelBusy:
            if state.last is None:
                raise
            raise AllDeploymentsDown(state.last) from None

    async def _ask(
        self, state: FailoverState, candidate: Candidate, opened: OpenedModelCall
    ) -> AsyncGenerator[ModelPart]:
        """Make one call to one deployment, settled whatever comes of it."""
        call_id = opened.call_id
        call = DeploymentCall(state.request, candidate.deployment, self._settings)
        try:
            async with aclosing(call.texts()) as texts:
                async for text in texts:
                    yield TextPart(text=text)
            completion = call.completion()
        except ModelFailed as failed:
            await self._settle_failure(state, candidate, call, call_id, failed)
            raise
        except BaseException:
            usage = call.usage_so_far(state.plan.input_tokens)
            settlement = _settlement(state, candidate, call, "cancelled", usage)
            with suppress(Unavailable):
                await asyncio.shield(self._calls.settle(call_id, settlement))
            raise
        settlement = _settlement(state, candidate, call, "ok", completion.usage, healthy=True)
        await self._calls.settle(call_id, settlement)
        yield completion.model_copy(update={"call_id": call_id, "note": opened.reason})

    async def _settle_failure(
        self,
        state: FailoverState,
        candidate: Candidate,
        call: DeploymentCall,
        call_id: str,
        failed: ModelFailed,
    ) -> None:
        """Settle a failure. If that fails too, the first one counts; the call is swept up later."""
        nothing = isinstance(failed, _FREE)
        nothing |= isinstance(failed, ModelUnavailable) and not call.streamed
        usage = CallUsage() if nothing else call.usage_so_far(state.plan.input_tokens)
        settlement = _settlement(state, candidate, call, failed.code, usage).model_copy(
            update=_effect(failed)
        )
        with suppress(Unavailable):
            if await self._calls.settle(call_id, settlement):
                _log.warning("breaker opened", deployment=candidate.name, code=failed.code)

    async def _downgrade(self, state: FailoverState, route: str) -> None:
        request = state.request.model_copy(update={"model": route})
        state.plan = await self._routing.plan(state.origin.tenant_id, request)
        state.downgraded = True


def _pass_over(
    state: FailoverState, candidate: Candidate, failed: ModelFailed, *, begun: bool
) -> None:
    """Go on without a deployment that failed.

    Raises the failure once words were streamed, AllDeploymentsDown when no candidate is left.
    """
    others = tuple(c for c in state.plan.candidates if c.name != candidate.name)
    if begun:
        raise type(failed)(failed.detail, retry_after=_AT_ONCE) if others else failed
    state.failed[candidate.name] = failed.code
    state.last = failed
    state.plan = replace(state.plan, candidates=others)
    if not others:
        raise AllDeploymentsDown(failed) from None


def _effect(failed: ModelFailed) -> dict[str, bool | float | None]:
    """Say what a failure means for its deployment's health."""
    if isinstance(failed, CALLERS_FAULT):
        return {"healthy": None}
    if isinstance(failed, ModelRateLimited) and failed.retry_after is not None:
        return {"healthy": None, "blocked_seconds": failed.retry_after.total_seconds()}
    return {"healthy": False}


def _notices(state: FailoverState, opened: OpenedModelCall | Downgrade) -> Iterator[ModelNotice]:
    for warning in opened.warnings:
        if warning.first:
            data = warning.model_dump(exclude={"first"})
            yield ModelNotice(type=EventType.BUDGET_WARNED, data=data)
    if isinstance(opened, Downgrade):
        return
    to = state.plan.candidates[opened.index].name
    for name, code in (state.failed | opened.refusals).items():
        if name not in state.announced:
            state.announced.add(name)
            data = {"from": name, "to": to, "code": code}
            yield ModelNotice(type=EventType.MODEL_SWITCHED, data=data)


def _settlement(
    state: FailoverState,
    candidate: Candidate,
    call: DeploymentCall,
    status: str,
    usage: CallUsage,
    *,
    healthy: bool | None = None,
) -> CallSettlement:
    return CallSettlement(
        tenant_id=state.origin.tenant_id,
        run_id=state.origin.run_id,
        deployment=candidate.name,
        status=status,
        usage=usage,
        cost_micros=call.cost(usage),
        first_token_ms=call.first_token_ms,
        total_ms=call.total_ms,
        healthy=healthy,
    )
