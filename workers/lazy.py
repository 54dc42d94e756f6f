"""Adapters that are loaded when they are first needed: they take seconds and memory."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from db.gateway.cache import CachedAnswers
from db.gateway.calls import ModelCalls
from db.gateway.embeddings import Embeddings
from db.session import Database
from domain.gateway.calls import CallOrigin
from domain.gateway.completions import Completion, ModelPart, ModelRequest
from domain.scoring.examples import Examples
from domain.scoring.models import NewModel
from domain.scoring.trainings import TrainingInput
from domain.settings import Settings

if TYPE_CHECKING:
    from adapters.gateway.gateway import LiteLLMGateway
    from adapters.scoring.learner import SklearnLearner


class LazyGateway:
    """The ModelGateway port over LiteLLM, loaded by the first call or by `warm_up`."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._loaded: LiteLLMGateway | None = None
        self._loading = asyncio.Lock()

    async def warm_up(self) -> None:
        """Load everything now, so that the first call is as quick as the next."""
        await (await self._gateway()).warm_up()

    async def close(self) -> None:
        """Close the connections to providers."""
        if self._loaded is not None:
            await self._loaded.close()

    async def stream(self, request: ModelRequest, origin: CallOrigin) -> AsyncGenerator[ModelPart]:
        """Ask a model: notices and text parts, then one Completion; raises ModelFailed."""
        async with aclosing((await self._gateway()).stream(request, origin)) as parts:
            async for part in parts:
                yield part

    async def ask(self, request: ModelRequest, origin: CallOrigin) -> Completion:
        """Ask a model, and return its whole completion; raises ModelFailed."""
        return await (await self._gateway()).ask(request, origin)

    async def window(self, tenant_id: str, model: str) -> int:
        """Return the smallest context window, in tokens, of a route's or a model's deployments."""
        return await (await self._gateway()).window(tenant_id, model)

    def count(self, model: str, texts: Sequence[str]) -> int:
        """Count the tokens of texts; only after the first call or `warm_up`."""
        assert self._loaded is not None, "count before warm_up"
        return self._loaded.count(model, texts)

    async def embed(self, texts: Sequence[str], origin: CallOrigin) -> list[list[float]]:
        """Return one vector for each text; raises ModelFailed."""
        return await (await self._gateway()).embed(texts, origin)

    async def _gateway(self) -> "LiteLLMGateway":
        async with self._loading:
            if self._loaded is None:
                gateway = await asyncio.to_thread(_load_gateway)
                self._loaded = gateway(
                    self._settings,
                    ModelCalls(self._database, self._settings),
                    CachedAnswers(self._database),
                    Embeddings(self._database),
                )
        return self._loaded


def _load_gateway() -> "type[LiteLLMGateway]":
    from adapters.gateway.gateway import LiteLLMGateway

    return LiteLLMGateway


class LazyLearner:
    """The Learner port over scikit-learn, loaded by the first training."""

    async def learn(
        self,
        input: TrainingInput,
        examples: Examples,
        report: Callable[[str], Awaitable[None]],
    ) -> NewModel:
        """Learn a model with its metrics and its baseline; raises TrainingImpossible."""
        learner = await asyncio.to_thread(_load_learner)
        return await learner().learn(input, examples, report)


def _load_learner() -> "type[SklearnLearner]":
    from adapters.scoring.learner import SklearnLearner

    return SklearnLearner
