"""The way to every model: LiteLLM behind the ModelGateway port."""

import re
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace

from activities.gateway.ports import CachedAnswerStore, EmbeddingStore, ModelCallStore
from adapters.gateway.call import warm_up
from adapters.gateway.embedding import Embedder
from adapters.gateway.failover import AllDeploymentsDown, Failover, FailoverState
from adapters.gateway.questions import cache_question, may_be_cached, may_match_similar
from adapters.gateway.routing import RoutePlan, Routing
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
from domain.gateway.errors import BudgetReserved, ModelBusy, ModelTruncated
from domain.runs.events import EventType
from domain.settings import Settings

_PIECES = re.compile(r"(?:\S+\s*){1,8}|\s+")
_DOWN = "every deployment is down"


class LiteLLMGateway:
    """Every provider that LiteLLM knows, and the offline model, asked in one way.

    Each call goes by a route, is opened and settled in the call ledger, and is answered by the
    cache where the route allows it. When all deployments are down, the route's stand-in answers.
    """

    def __init__(
        self,
        settings: Settings,
        calls: ModelCallStore,
        cache: CachedAnswerStore,
        embeddings: EmbeddingStore,
    ) -> None:
        self._settings = settings
        self._calls = calls
        self._cache = cache
        self._routing = Routing(settings, calls)
        self._embedder = Embedder(calls, self._routing, embeddings)
        self._failover = Failover(settings, calls, self._routing)

    async def stream(self, request: ModelRequest, origin: CallOrigin) -> AsyncGenerator[ModelPart]:
        """Ask a model: notices and text parts as they come, then exactly one Completion.

        Raises ModelFailed, not retryable any more once the step has failed too often. Closing the
        stream early closes the connection to the provider.
        """
        try:
            async with aclosing(self._answer(request, origin)) as parts:
                async for part in parts:
                    yield part
        except (ModelBusy, BudgetReserved):
            raise
        except ModelFailed as failure:
            if failure.retryable and await self._has_failed_too_often(origin):
                raise failure.final() from failure
            raise

    async def _has_failed_too_often(self, origin: CallOrigin) -> bool:
        """Count the failures of a step; what cannot be counted now, the next attempt counts."""
        with suppress(Unavailable):
            return await self._calls.failures(origin) >= MAX_MODEL_FAILURES
        return False

    async def _answer(self, request: ModelRequest, origin: CallOrigin) -> AsyncGenerator[ModelPart]:
        """Answer from the cache, by a deployment, or by the route's stand-in."""
        begun = time.monotonic()
        plan = await self._routing.plan(origin.tenant_id, request)
        state = FailoverState(origin, _limited(request, plan), plan)
        question = await self._question(state)
        cached = await self._cache.find(question) if question is not None else None
        if cached is not None:
            for part in await self._replay(state, cached, begun):
                yield part
            return
        if origin.attempt > 1:
            await self._reconcile(state)
        try:
            async with aclosing(self._failover.answer(state)) as parts:
                async for part in parts:
                    await self._remember(question, part)
                    yield part
        except AllDeploymentsDown as down:
            async with aclosing(self._stand_in(state, down.failure)) as parts:
                async for part in parts:
                    yield part

    async def ask(self, request: ModelRequest, origin: CallOrigin) -> Completion:
        """Ask a model, and return its whole completion. Raises ModelFailed."""
        async with aclosing(self.stream(request, origin)) as parts:
            async for part in parts:
                if isinstance(part, Completion):
                    return part
        raise ModelTruncated

    async def warm_up(self) -> None:
        """Let LiteLLM load what it loads on first use, about a second of blocked event loop."""
        await warm_up(self._settings)

    async def close(self) -> None:
        """Close the connections that LiteLLM keeps open between calls."""
        await litellm.close_litellm_async_clients()

    async def window(self, tenant_id: str, model: str) -> int:
        """Return the smallest context window, in tokens, of a route's or a model's deployments."""
        return min(await self._routing.windows(tenant_id, model))

    def count(self, model: str, texts: Sequence[str]) -> int:
        """Count the tokens of texts, for the first deployment of a route or for a model."""
        return count(self._settings.model_of(model), texts)

    async def embed(self, texts: Sequence[str], origin: CallOrigin) -> list[list[float]]:
        """Return one vector for each text, by the route `embed`. Raises ModelFailed."""
        return await self._embedder.embed(texts, origin)

    async def _question(self, state: FailoverState) -> CacheQuestion | None:
        plan, request, origin = state.plan, state.request, state.origin
        question = cache_question(origin.tenant_id, plan, request)
        if question is None or not may_match_similar(plan, request):
            return question
        (vector,) = await self.embed([question.question], origin)
        return question.model_copy(update={"vector": tuple(vector)})

    async def _reconcile(self, state: FailoverState) -> None:
        """Try those last that have failed in earlier attempts."""
        failed = await self._calls.reconcile(state.origin)
        ordered = sorted(state.plan.candidates, key=lambda candidate: candidate.name in failed)
        state.plan = replace(state.plan, candidates=tuple(ordered))

    async def _remember(self, question: CacheQuestion | None, part: ModelPart) -> None:
        """Cache an answer; one that cannot be is an answer all the same."""
        if question is not None and isinstance(part, Completion) and may_be_cached(part):
            with suppress(Unavailable):
                await self._cache.remember(question, part)

    async def _replay(
        self, state: FailoverState, answer: CachedAnswer, begun: float
    ) -> list[ModelPart]:
        """Give the answer of an earlier call, in pieces like a fresh one; it costs nothing."""
        call = CachedCall(
            origin=state.origin,
            route=state.plan.name,
            answer=answer,
            call_id=uuid.uuid4().hex,
            total_ms=(time.monotonic() - begun) * 1000,
            prompt=state.request.prompt,
            prompt_version=state.request.prompt_version,
        )
        await self._calls.cached(call)
        data = {"source_call": answer.call_id, "kind": answer.kind}
        note = f"answered by the cache ({answer.kind})"
        completion = _free_completion(answer.text, answer.model, note).model_copy(
            update={"call_id": call.call_id, "cached": answer.call_id}
        )
        texts = [TextPart(text=piece) for piece in _PIECES.findall(answer.text)]
        return [ModelNotice(type=EventType.MODEL_CACHED, data=data), *texts, completion]

    async def _stand_in(
        self, state: FailoverState, failed: ModelFailed
    ) -> AsyncGenerator[ModelPart]:
        """Give an old answer or the route's fallback, where both sides allow it; else raise the
        failure."""
        route = state.plan.route
        if not state.request.may_degrade:
            raise failed
        cached = await self._stale_answer(state) if route.stale else None
        if cached is None and route.fallback is None:
            raise failed
        yield ModelNotice(type=EventType.MODEL_DEGRADED, data={"code": failed.code})
        if cached is None:
            text = route.fallback or ""
            parts: list[ModelPart] = [
                TextPart(text=text),
                _free_completion(text, "fallback", _DOWN),
            ]
        else:
            parts = await self._replay(state, cached, time.monotonic())
        for part in parts:
            degraded = isinstance(part, Completion)
            yield part.model_copy(update={"degraded": True}) if degraded else part

    async def _stale_answer(self, state: FailoverState) -> CachedAnswer | None:
        question = cache_question(state.origin.tenant_id, state.plan, state.request)
        if question is None:
            return None
        return await self._cache.find(question.model_copy(update={"stale": True}))


def _limited(request: ModelRequest, plan: RoutePlan) -> ModelRequest:
    """Apply the route's limits to the request. An answer is only limited where somebody says so."""
    route = plan.route
    temperature = route.temperature if request.temperature is None else request.temperature
    return request.model_copy(
        update={
            "temperature": temperature,
            "max_output": request.max_output or route.max_output,
        }
    )


def _free_completion(text: str, model: str, note: str) -> Completion:
    return Completion(
        text=text,
        tool_calls=(),
        finish_reason="stop",
        model=model,
        usage=CallUsage(),
        cost_micros=0,
        note=note,
    )
