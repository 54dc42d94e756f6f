"""The way to every model: LiteLLM behind the ModelGateway port."""

import re
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress

from activities.gateway.ports import AnswerCache, CallLedger, EmbeddingCache
from adapters.gateway.call import warm_up
from adapters.gateway.embedding import Embedder
from adapters.gateway.failover import Asked, Failover
from adapters.gateway.questions import may_be_alike, may_be_remembered, question
from adapters.gateway.routing import Plan, Routing
from adapters.gateway.tokens import count
from adapters.litellm import litellm
from domain.errors import ModelFailed, Unavailable
from domain.gateway.cache import CachedAnswer, CacheQuestion
from domain.gateway.calls import MAX_MODEL_FAILURES, CachedCall, CallOrigin
from domain.gateway.completions import (
    CallUsage,
    Completion,
    ModelNotice,
    ModelPart,
    ModelRequest,
    TextPart,
)
from domain.runs.events import EventType
from domain.settings import Settings

_PIECES = re.compile(r"(?:\S+\s*){1,8}|\s+")
_DOWN = "every deployment is down"
_WAITING = frozenset({"model_busy", "budget_reserved"})


class LiteLLMGateway:
    """Every provider that LiteLLM knows, and the offline model, asked in one way.

    Each call goes by a route, is opened and settled in the ledger, and is answered by the cache
    where the route allows it. When all deployments are down, the route's stand-in answers.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: CallLedger,
        cache: AnswerCache,
        embeddings: EmbeddingCache,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._cache = cache
        self._routing = Routing(settings, ledger)
        self._embedder = Embedder(ledger, self._routing, embeddings)
        self._failover = Failover(settings, ledger, self._routing)

    async def stream(self, request: ModelRequest, origin: CallOrigin) -> AsyncGenerator[ModelPart]:
        """Ask a model: notices and text parts as they come, then exactly one Completion.

        Raises ModelFailed, not retryable any more once the step has failed too often. Closing the
        stream early closes the connection to the provider.
        """
        try:
            async with aclosing(self._answer(request, origin)) as parts:
                async for part in parts:
                    yield part
        except ModelFailed as failure:
            if failure.retryable and failure.code not in _WAITING:
                failure.retryable = await self._may_fail_again(origin)
            raise

    async def _may_fail_again(self, origin: CallOrigin) -> bool:
        """A failure that cannot be counted now is counted by the next attempt."""
        with suppress(Unavailable):
            return await self._ledger.failures(origin) < MAX_MODEL_FAILURES
        return True

    async def _answer(self, request: ModelRequest, origin: CallOrigin) -> AsyncGenerator[ModelPart]:
        """The answer of the cache, of a deployment or of the route's stand-in."""
        begun = time.monotonic()
        plan = await self._routing.plan(origin.tenant_id, request)
        request = _limited(request, plan)
        known = await self._question(plan, request, origin)
        found = await self._cache.find(known) if known is not None else None
        if found is not None:
            for part in await self._given_before(Asked(origin, request, plan), found, begun):
                yield part
            return
        if origin.attempt > 1:
            failed = await self._ledger.reconcile(origin)
            plan.candidates.sort(key=lambda candidate: candidate.name in failed)
        asked = Asked(origin, request, plan)
        try:
            async with aclosing(self._failover.answer(asked)) as parts:
                async for part in parts:
                    await self._remember(known, part)
                    yield part
        except ModelFailed as failure:
            if not (request.may_degrade and failure.facts.get("down")):
                raise
            async for part in self._stand_in(asked, failure):
                yield part

    async def warm_up(self) -> None:
        """Let LiteLLM load what it loads on first use, about a second of blocked event loop."""
        await warm_up(self._settings)

    async def close(self) -> None:
        """Close the connections that LiteLLM keeps open between calls."""
        await litellm.close_litellm_async_clients()

    async def window(self, tenant_id: str, model: str) -> int:
        """The smallest context window, in tokens, of the deployments of a route or model."""
        return min(await self._routing.windows(tenant_id, model))

    def count(self, model: str, texts: Sequence[str]) -> int:
        """How many tokens these texts are for the first deployment of a route, or for a model."""
        return count(self._settings.model_of(model), texts)

    async def embed(self, texts: Sequence[str], origin: CallOrigin) -> list[list[float]]:
        """One vector for each text, by the route `embed`. Raises ModelFailed."""
        return await self._embedder.embed(texts, origin)

    async def _question(
        self, plan: Plan, request: ModelRequest, origin: CallOrigin
    ) -> CacheQuestion | None:
        asked = question(origin.tenant_id, plan, request)
        if asked is None or not may_be_alike(plan, request):
            return asked
        (vector,) = await self.embed([asked.question], origin)
        return asked.model_copy(update={"vector": tuple(vector)})

    async def _remember(self, known: CacheQuestion | None, part: ModelPart) -> None:
        """An answer that could not be kept is an answer all the same."""
        if known is not None and isinstance(part, Completion) and may_be_remembered(part):
            with suppress(Unavailable):
                await self._cache.remember(known, part)

    async def _given_before(
        self, asked: Asked, answer: CachedAnswer, begun: float
    ) -> list[ModelPart]:
        """The answer of an earlier call, in pieces like a fresh one; it costs nothing."""
        call = CachedCall(
            origin=asked.origin,
            route=asked.plan.name,
            answer=answer,
            call_id=uuid.uuid4().hex,
            total_ms=(time.monotonic() - begun) * 1000,
            prompt=asked.request.prompt,
            prompt_version=asked.request.prompt_version,
        )
        await self._ledger.cached(call)
        data = {"source_call": answer.call_id, "kind": answer.kind}
        note = f"answered by the cache ({answer.kind})"
        completion = _stand_in_for(answer.text, answer.model, note).model_copy(
            update={"call_id": call.call_id, "cached": answer.call_id}
        )
        texts = [TextPart(text=piece) for piece in _PIECES.findall(answer.text)]
        return [ModelNotice(type=EventType.MODEL_CACHED, data=data), *texts, completion]

    async def _stand_in(self, asked: Asked, failed: ModelFailed) -> AsyncGenerator[ModelPart]:
        """An old answer or the route's fallback, where it allows that; else the failure."""
        route, found = asked.plan.route, None
        if route.stale:
            known = question(asked.origin.tenant_id, asked.plan, asked.request)
            old = known.model_copy(update={"stale": True}) if known else None
            found = await self._cache.find(old) if old else None
        if found is None and route.fallback is None:
            raise failed
        yield ModelNotice(type=EventType.MODEL_DEGRADED, data={"code": failed.code})
        if found is None:
            text = route.fallback or ""
            parts: list[ModelPart] = [TextPart(text=text), _stand_in_for(text, "fallback", _DOWN)]
        else:
            parts = await self._given_before(asked, found, time.monotonic())
        for part in parts:
            degraded = isinstance(part, Completion)
            yield part.model_copy(update={"degraded": True}) if degraded else part


def _limited(request: ModelRequest, plan: Plan) -> ModelRequest:
    """The request with what its route sets. The answer is only limited where somebody asked."""
    route = plan.route
    temperature = route.temperature if request.temperature is None else request.temperature
    return request.model_copy(
        update={
            "temperature": temperature,
            "max_output": request.max_output or route.max_output,
        }
    )


def _stand_in_for(text: str, model: str, note: str) -> Completion:
    return Completion(
        text=text,
        tool_calls=(),
        finish_reason="stop",
        model=model,
        usage=CallUsage(),
        cost_micros=0,
        note=note,
    )
