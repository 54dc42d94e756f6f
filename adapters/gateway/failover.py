"""Failover: deployments asked one after another until one answers, each call opened and settled."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from activities.gateway.ports import CallLedger
from adapters.gateway.call import Call
from adapters.gateway.routing import Plan, Routing
from domain.errors import ModelFailed, Unavailable
from domain.gateway.calls import CallEnding, CallOpening, CallOrigin, OpenedModelCall
from domain.gateway.completions import CallUsage, ModelNotice, ModelPart, ModelRequest, TextPart
from domain.gateway.routes import Candidate
from domain.runs.events import EventType
from domain.settings import Settings

# Another deployment may do better; any other error would come back from it.
_SWITCHED = frozenset(
    {
        *("model_unavailable", "model_timeout", "model_rate_limited", "model_truncated"),
        *("model_garbled", "model_credentials"),
    }
)
# The provider refused before it worked: nothing was taken.
_FREE = frozenset({"model_rate_limited", "model_credentials", "model_rejected", "context_too_long"})
# What the caller did wrong tells nothing of the deployment.
NOT_ITS_FAULT = frozenset({"model_rejected", "context_too_long"})
_AT_ONCE = timedelta(milliseconds=1)
_log = structlog.get_logger(__name__)


@dataclass
class Asked:
    """What an attempt wants and has been through: who failed so far, and with what."""

    origin: CallOrigin
    request: ModelRequest
    plan: Plan
    failed: dict[str, str] = field(default_factory=dict)
    last: ModelFailed | None = None
    downgraded: bool = False
    told: set[str] = field(default_factory=set)


class Failover:
    """Before the first token the next deployment is asked at once, in the same attempt; after it,
    the caller's next attempt is another call."""

    def __init__(self, settings: Settings, ledger: CallLedger, routing: Routing) -> None:
        self._settings = settings
        self._ledger = ledger
        self._routing = routing

    async def answer(self, asked: Asked) -> AsyncGenerator[ModelPart]:
        """Notices, texts and a Completion. Raises ModelFailed; its fact `down` is 1 when every
        deployment has failed, or is known to, before a word was said."""
        while True:
            opened = await self._open(asked)
            for notice in _notices(asked, opened):
                yield notice
            if opened.downgrade_to is not None:
                await self._downgrade(asked, opened.downgrade_to)
                continue
            candidate = asked.plan.candidates[opened.place]
            said = False
            try:
                async with aclosing(self._ask(asked, candidate, opened)) as parts:
                    async for part in parts:
                        said = True
                        yield part
                return
            except ModelFailed as failed:
                _note(asked, candidate, failed, said=said)

    async def _open(self, asked: Asked) -> OpenedModelCall:
        plan, request = asked.plan, asked.request
        opening = CallOpening(
            origin=asked.origin,
            route=plan.name,
            candidates=tuple(plan.candidates),
            input_tokens=plan.input_tokens,
            output_tokens=plan.output_tokens,
            failed=asked.failed,
            may_downgrade=not asked.downgraded,
            prompt=request.prompt,
            prompt_version=request.prompt_version,
        )
        try:
            return await self._ledger.open(opening)
        except ModelFailed as refusal:
            if refusal.code == "model_busy" and asked.last is not None:
                asked.last.facts["down"] = 1
                raise asked.last from None
            raise

    async def _ask(
        self, asked: Asked, candidate: Candidate, opened: OpenedModelCall
    ) -> AsyncGenerator[ModelPart]:
        """One call to one deployment, settled whatever comes of it."""
        call_id = opened.call_id
        call = Call(asked.request, candidate.deployment, self._settings)
        try:
            async with aclosing(call.texts()) as texts:
                async for text in texts:
                    yield TextPart(text=text)
            completion = call.completion()
        except ModelFailed as failed:
            await self._settle_failure(asked, candidate, call, call_id, failed)
            raise
        except BaseException:
            ending = _ending(asked, candidate, call, "cancelled")
            with suppress(Unavailable):
                await asyncio.shield(self._ledger.settle(call_id, ending))
            raise
        bill = {"usage": completion.usage, "cost_micros": completion.cost_micros, "healthy": True}
        ending = _ending(asked, candidate, call, "ok").model_copy(update=bill)
        await self._ledger.settle(call_id, ending)
        yield completion.model_copy(update={"call_id": call_id, "note": opened.reason})

    async def _settle_failure(
        self, asked: Asked, candidate: Candidate, call: Call, call_id: str, failed: ModelFailed
    ) -> None:
        """A failure to write this down must not hide the failure; the call is swept up later."""
        told: dict[str, bool | float | None] = {"healthy": False}
        if failed.code in NOT_ITS_FAULT:
            told = {"healthy": None}
        elif failed.code == "model_rate_limited" and failed.retry_after is not None:
            told = {"healthy": None, "blocked_seconds": failed.retry_after.total_seconds()}
        ending = _ending(asked, candidate, call, failed.code).model_copy(update=told)
        with suppress(Unavailable):
            if await self._ledger.settle(call_id, ending):
                _log.warning("breaker opened", deployment=candidate.name, code=failed.code)

    async def _downgrade(self, asked: Asked, route: str) -> None:
        request = asked.request.model_copy(update={"model": route})
        asked.plan = await self._routing.plan(asked.origin.tenant_id, request)
        asked.downgraded = True


def _note(asked: Asked, candidate: Candidate, failed: ModelFailed, *, said: bool) -> None:
    """Take a deployment that failed out; raises what the caller must hear of."""
    others = [c for c in asked.plan.candidates if c.name != candidate.name]
    if failed.code not in _SWITCHED:
        raise failed
    if said:
        if others:
            failed.retry_after = _AT_ONCE
        raise failed
    asked.failed[candidate.name] = failed.code
    asked.last = failed
    asked.plan.candidates[:] = others
    if not others:
        failed.facts["down"] = 1
        raise failed


def _notices(asked: Asked, opened: OpenedModelCall) -> Iterator[ModelNotice]:
    for warning in opened.warnings:
        if warning.first:
            data = warning.model_dump(exclude={"first"})
            yield ModelNotice(type=EventType.BUDGET_WARNED, data=data)
    if opened.place < 0:
        return
    to = asked.plan.candidates[opened.place].name
    for name, code in (asked.failed | opened.refusals).items():
        if name not in asked.told:
            asked.told.add(name)
            data = {"from": name, "to": to, "code": code}
            yield ModelNotice(type=EventType.MODEL_SWITCHED, data=data)


def _ending(asked: Asked, candidate: Candidate, call: Call, status: str) -> CallEnding:
    """The bill of a call that did not end well: what it must have taken, as far as one can know."""
    nothing = status in _FREE or (status == "model_unavailable" and not call.said)
    usage = CallUsage() if nothing else call.usage_so_far(asked.plan.input_tokens)
    return CallEnding(
        tenant_id=asked.origin.tenant_id,
        run_id=asked.origin.run_id,
        deployment=candidate.name,
        status=status,
        usage=usage,
        cost_micros=call.cost(usage),
        first_token_ms=call.first_token_ms,
        total_ms=call.total_ms,
        healthy=None,
    )
