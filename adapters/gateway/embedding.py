"""Embedding: texts to vectors, in batches, by LiteLLM or by the lexical model without a key."""

import asyncio
import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence

from activities.gateway.ports import EmbeddingStore, ModelCallStore
from adapters.gateway.errors import CALLERS_FAULT, FAILURES, failure
from adapters.gateway.offline import lexical
from adapters.gateway.prices import cost_micros
from adapters.gateway.routing import Routing
from adapters.litellm import litellm
from domain.errors import ModelFailed
from domain.gateway.calls import CallOrigin, CallSettlement, NewModelCall, OpenedModelCall
from domain.gateway.completions import CallUsage
from domain.gateway.errors import ModelGarbled
from domain.gateway.routes import EMBED, Candidate, Deployment, Route
from domain.settings import OFFLINE_EMBEDDING

_BATCH = 64
_TIMEOUT_SECONDS = 60.0


def text_digest(text: str) -> str:
    """Return the SHA-256 by which a text's vector is stored, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Split texts into batches of at most 64, each distinct text once."""
    distinct = list(dict.fromkeys(texts))
    for start in range(0, len(distinct), _BATCH):
        yield distinct[start : start + _BATCH]


async def embed(
    texts: Sequence[str], deployment: Deployment
) -> tuple[list[list[float]], CallUsage]:
    """Return one vector for each text, and the usage; raises ModelFailed."""
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
        raise ModelGarbled("The provider left texts out.")
    return vectors, CallUsage(input_tokens=getattr(answer.usage, "prompt_tokens", 0) or 0)


def _words(texts: Sequence[str]) -> int:
    return sum(len(text.split()) for text in texts)


class Embedder:
    """The route `embed`: known texts from the cache, the others by its first deployment.

    There is no failover: vectors of two models cannot be compared. The lexical model's are neither
    stored nor billed: to make them costs less than to look them up.
    """

    def __init__(self, calls: ModelCallStore, routing: Routing, embeddings: EmbeddingStore) -> None:
        self._calls = calls
        self._routing = routing
        self._embeddings = embeddings

    async def embed(self, texts: Sequence[str], origin: CallOrigin) -> list[list[float]]:
        """Return one vector for each text, in their order; raises ModelFailed."""
        route = await self._routing.route(origin.tenant_id, EMBED)
        deployment = self._routing.deployment(route.deployments[0])
        if deployment.model == OFFLINE_EMBEDDING:
            return (await embed(texts, deployment))[0]
        digests = {text: text_digest(text) for text in texts}
        known = await self._embeddings.find(
            origin.tenant_id, deployment.model, list(digests.values())
        )
        for batch in batches(text for text in texts if digests[text] not in known):
            vectors = await self._ask(batch, route, origin)
            new = {digests[text]: vector for text, vector in zip(batch, vectors, strict=True)}
            await self._embeddings.remember(origin.tenant_id, deployment.model, new)
            known |= new
        return [known[digests[text]] for text in texts]

    async def _ask(self, batch: list[str], route: Route, origin: CallOrigin) -> list[list[float]]:
        """Embed one batch, opened and settled in the call ledger."""
        candidate = self._routing.candidates(route)[0]
        opened = await self._calls.open(_new_call(batch, candidate, origin))
        assert isinstance(opened, OpenedModelCall), "there is no route to downgrade to"
        begun = time.monotonic()
        status, healthy, usage = "cancelled", None, CallUsage()
        try:
            vectors, usage = await embed(batch, candidate.deployment)
            status, healthy = "ok", True
            return vectors
        except ModelFailed as failed:
            status, healthy = failed.code, None if isinstance(failed, CALLERS_FAULT) else False
            raise
        finally:
            settlement = CallSettlement(
                tenant_id=origin.tenant_id,
                run_id=origin.run_id,
                deployment=candidate.name,
                status=status,
                usage=usage,
                cost_micros=cost_micros(candidate.deployment, usage),
                first_token_ms=None,
                total_ms=(time.monotonic() - begun) * 1000,
                healthy=healthy,
            )
            await asyncio.shield(self._calls.settle(opened.call_id, settlement))


def _new_call(batch: list[str], candidate: Candidate, origin: CallOrigin) -> NewModelCall:
    return NewModelCall(
        origin=origin.model_copy(update={"feature": EMBED}),
        route=EMBED,
        candidates=(candidate,),
        input_tokens=sum(len(text.encode()) for text in batch) // 3 + 1,
        output_tokens=0,
    )
