"""Embedding: texts to vectors, in batches, by LiteLLM or by the lexical model without a key."""

import asyncio
import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from activities.gateway.ports import CallLedger, EmbeddingCache
from adapters.gateway.errors import FAILURES, failure
from adapters.gateway.failover import NOT_ITS_FAULT
from adapters.gateway.offline import lexical
from adapters.gateway.prices import cost_micros
from adapters.gateway.routing import Routing
from adapters.litellm import litellm
from domain.errors import ModelFailed
from domain.gateway.calls import CallEnding, CallOpening, CallOrigin
from domain.gateway.completions import CallUsage
from domain.gateway.routes import EMBED, Deployment, Route
from domain.settings import OFFLINE_EMBEDDING

_BATCH = 64
_TIMEOUT_SECONDS = 60.0


def digest_of(text: str) -> str:
    """What a text is remembered by."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Each distinct text once, in batches of at most 64."""
    distinct = list(dict.fromkeys(texts))
    for start in range(0, len(distinct), _BATCH):
        yield distinct[start : start + _BATCH]


async def embed(
    texts: Sequence[str], deployment: Deployment
) -> tuple[list[list[float]], CallUsage]:
    """One vector for each text, and what that took; raises ModelFailed."""
    if deployment.model == OFFLINE_EMBEDDING:
        return [lexical.embed(text) for text in texts], CallUsage(input_tokens=_words(texts))
    try:
        answer = await litellm.aembedding(
            model=deployment.model,
            input=list(texts),
            api_base=deployment.base_url,
            api_key=deployment.key.get_secret_value() if deployment.key else None,
            num_retries=0,
            max_retries=0,
            timeout=_TIMEOUT_SECONDS,
        )
    except FAILURES as error:
        raise failure(error, texts) from error
    ordered = sorted(answer.data, key=lambda item: item["index"])
    vectors = [[float(value) for value in item["embedding"]] for item in ordered]
    if len(vectors) != len(texts):
        raise ModelFailed("The provider left texts out.", code="model_garbled")
    return vectors, CallUsage(input_tokens=getattr(answer.usage, "prompt_tokens", 0) or 0)


def _words(texts: Sequence[str]) -> int:
    return sum(len(text.split()) for text in texts)


class Embedder:
    """The route `embed`: known texts from the cache, the others by its first deployment.

    There is no failover: vectors of two models cannot be compared. What the lexical model makes
    costs less than to look it up, and nothing that a ledger would keep.
    """

    def __init__(self, ledger: CallLedger, routing: Routing, cache: EmbeddingCache) -> None:
        self._ledger = ledger
        self._routing = routing
        self._cache = cache

    async def embed(self, texts: Sequence[str], origin: CallOrigin) -> list[list[float]]:
        """One vector for each text, in their order; raises ModelFailed."""
        route = await self._routing.route(origin.tenant_id, EMBED)
        deployment = self._routing.deployment(route.deployments[0])
        if deployment.model == OFFLINE_EMBEDDING:
            return (await embed(texts, deployment))[0]
        digests = {text: digest_of(text) for text in texts}
        known = await self._cache.find(origin.tenant_id, deployment.model, list(digests.values()))
        for batch in batches(text for text in texts if digests[text] not in known):
            vectors = await self._ask(batch, route, origin)
            new = {digests[text]: vector for text, vector in zip(batch, vectors, strict=True)}
            await self._cache.remember(origin.tenant_id, deployment.model, new)
            known |= new
        return [known[digests[text]] for text in texts]

    async def _ask(self, batch: list[str], route: Route, origin: CallOrigin) -> list[list[float]]:
        """One batch, opened and settled in the ledger."""
        candidate = self._routing.candidates(route)[0]
        size = sum(len(text.encode()) for text in batch) // 3 + 1
        opening = CallOpening(
            origin=origin.model_copy(update={"feature": EMBED}),
            route=EMBED,
            candidates=(candidate,),
            input_tokens=size,
            output_tokens=0,
        )
        opened = await self._ledger.open(opening)
        begun = time.monotonic()
        ending = CallEnding(
            tenant_id=origin.tenant_id,
            run_id=origin.run_id,
            deployment=candidate.name,
            status="cancelled",
            usage=CallUsage(),
            cost_micros=0,
            first_token_ms=None,
            total_ms=0,
            healthy=None,
        )
        told: dict[str, Any] = {}
        try:
            vectors, usage = await embed(batch, candidate.deployment)
            cost = cost_micros(candidate.deployment, usage)
            told = {"status": "ok", "usage": usage, "cost_micros": cost, "healthy": True}
            return vectors
        except ModelFailed as failed:
            blamed = failed.code not in NOT_ITS_FAULT
            told = {"status": failed.code, "healthy": False if blamed else None}
            raise
        finally:
            told["total_ms"] = (time.monotonic() - begun) * 1000
            settled = self._ledger.settle(opened.call_id, ending.model_copy(update=told))
            await asyncio.shield(settled)
