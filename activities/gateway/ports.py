"""Ports of the gateway: models, the store of their calls, caches and prompts."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from domain.gateway.cache import CachedAnswer, CacheQuestion
from domain.gateway.calls import (
    CachedCall,
    CallOrigin,
    CallSettlement,
    Downgrade,
    NewModelCall,
    OpenedModelCall,
)
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

    async def ask(self, request: ModelRequest, origin: CallOrigin) -> Completion:
        """Ask a model, and return its whole completion. Raises ModelFailed."""
        ...

    async def window(self, tenant_id: str, model: str) -> int:
        """Return the smallest context window, in tokens, of a route's or a model's deployments."""
        ...

    def count(self, model: str, texts: Sequence[str]) -> int:
        """Count the tokens of texts, for the first deployment of a route or for a model."""
        ...

    async def embed(self, texts: Sequence[str], origin: CallOrigin) -> list[list[float]]:
        """Return one vector for each text, by the route `embed`. Raises ModelFailed."""
        ...


class ModelCallStore(Protocol):
    """The call ledger: budgets, limits and breakers are checked before a call, the bill comes after
    it."""

    async def open(self, call: NewModelCall) -> OpenedModelCall | Downgrade:
        """Reserve the budgets and take the quota for the first candidate that may be asked.

        Raises BudgetExceeded, BudgetReserved, ModelBusy (RouteDown if no quota is the reason).
        """
        ...

    async def settle(self, call_id: str, settlement: CallSettlement) -> bool:
        """Write the bill, once; return whether this failure has opened a breaker."""
        ...

    async def cached(self, call: CachedCall) -> None:
        """Record a call that was answered without a provider."""
        ...

    async def reconcile(self, origin: CallOrigin) -> frozenset[str]:
        """Bill what earlier attempts of a step left open; return the deployments that failed."""
        ...

    async def failures(self, origin: CallOrigin) -> int:
        """Count the attempts of a step that failed at their model; to wait is no failure."""
        ...

    async def health(self, names: Sequence[str]) -> dict[str, Health]:
        """Return the health of these deployments, as far as the fleet knows it."""
        ...

    async def overrides(self, tenant_id: str) -> dict[str, Route]:
        """Return a tenant's own routes by name."""
        ...


class CachedAnswerStore(Protocol):
    """Answers that may be given again, kept apart by tenant."""

    async def find(self, question: CacheQuestion) -> CachedAnswer | None:
        """Return the answer to the same question, or to one that is similar enough."""
        ...

    async def remember(self, question: CacheQuestion, completion: Completion) -> None:
        """Store an answer for as long as its route allows."""
        ...


class EmbeddingStore(Protocol):
    """Vectors of texts that were embedded before, by the hash of their content."""

    async def find(
        self, tenant_id: str, model: str, digests: Sequence[str]
    ) -> dict[str, list[float]]:
        """Return the vectors that are known, by digest."""
        ...

    async def remember(
        self, tenant_id: str, model: str, vectors: Mapping[str, Sequence[float]]
    ) -> None:
        """Store vectors by digest."""
        ...


class PromptStore(Protocol):
    """Prompts by name: a tenant's active version, or the file's."""

    async def active(self, tenant_id: str, name: str) -> Prompt:
        """Return the prompt to use now; raises PromptUnknown."""
        ...
