"""What the gateway needs: models, the ledger of calls, caches and prompts."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from domain.gateway.cache import CachedAnswer, CacheQuestion
from domain.gateway.calls import CachedCall, CallEnding, CallOpening, CallOrigin, OpenedModelCall
from domain.gateway.completions import Completion, ModelPart, ModelRequest
from domain.gateway.prompts import Prompt
from domain.gateway.routes import Health, Route


class ModelGateway(Protocol):
    """The way to every model."""

    def stream(self, request: ModelRequest, origin: CallOrigin) -> AsyncGenerator[ModelPart, None]:
        """Ask a model: notices and text parts as they come, then exactly one Completion.

        Raises ModelFailed. A stream that broke off never yields a Completion.
        """
        ...

    async def window(self, tenant_id: str, model: str) -> int:
        """The smallest context window, in tokens, of the deployments of a route or model."""
        ...

    def count(self, model: str, texts: Sequence[str]) -> int:
        """How many tokens these texts are for the first deployment of a route, or for a model."""
        ...

    async def embed(self, texts: Sequence[str], origin: CallOrigin) -> list[list[float]]:
        """One vector for each text, by the route `embed`. Raises ModelFailed."""
        ...


class CallLedger(Protocol):
    """The record of model calls: budgets, limits and breakers are asked before, the bill after."""

    async def open(self, opening: CallOpening) -> OpenedModelCall:
        """Reserve the budgets and take the quota for the first candidate that may be asked.

        Raises ModelFailed (`budget_exceeded`, `budget_reserved`, `model_busy`).
        """
        ...

    async def settle(self, call_id: str, ending: CallEnding) -> bool:
        """Write the bill; True if this failure has opened a breaker. The first ending counts."""
        ...

    async def cached(self, call: CachedCall) -> None:
        """Record a call that was answered without a provider."""
        ...

    async def reconcile(self, origin: CallOrigin) -> frozenset[str]:
        """Bill what earlier attempts of a step left open; gives the deployments that failed."""
        ...

    async def failures(self, origin: CallOrigin) -> int:
        """Count the attempts of a step that failed at their model; others are no failures."""
        ...

    async def health(self, names: Sequence[str]) -> dict[str, Health]: ...

    async def overrides(self, tenant_id: str) -> dict[str, Route]:
        """A tenant's own routes."""
        ...


class AnswerCache(Protocol):
    """Answers that may be given again, kept apart by tenant."""

    async def find(self, question: CacheQuestion) -> CachedAnswer | None: ...

    async def remember(self, question: CacheQuestion, completion: Completion) -> None: ...


class EmbeddingCache(Protocol):
    """Vectors of texts that were embedded before, by the hash of their content."""

    async def find(
        self, tenant_id: str, model: str, digests: Sequence[str]
    ) -> dict[str, list[float]]: ...

    async def remember(
        self, tenant_id: str, model: str, vectors: Mapping[str, Sequence[float]]
    ) -> None: ...


class Prompts(Protocol):
    """Prompts by name: a tenant's active version, or the file's."""

    async def active(self, tenant_id: str, name: str) -> Prompt: ...
