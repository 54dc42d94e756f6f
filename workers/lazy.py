"""Adapters that are loaded when they are first needed, for they take seconds and memory."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from db.gateway.cache import CachedAnswers
from db.gateway.calls import ModelCalls
from db.gateway.embeddings import Embeddings
from db.session import Database
from domain.gateway.calls import CallOrigin
from domain.gateway.completions import ModelPart, ModelRequest
from domain.settings import Settings

if TYPE_CHECKING:
    from adapters.gateway.gateway import LiteLLMGateway


from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from domain.scoring.examples import Examples
from domain.scoring.models import NewModel
from domain.scoring.trainings import TrainingInput

if TYPE_CHECKING:
    from adapters.scoring.learner import SklearnLearner


class LazyGateway:
    """The ModelGateway port over LiteLLM, loaded by the first call or by `warm_up`."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._made: LiteLLMGateway | None = None
        self._making = asyncio.Lock()

    async def warm_up(self) -> None:
        """Load everything now, so that the first call is as quick as the next."""
        await (await self._gateway()).warm_up()

    async def close(self) -> None:
        """Close the connections to providers."""
        if self._made is not None:
            await self._made.close()

    async def stream(self, request: ModelRequest, origin: CallOrigin) -> AsyncGenerator[ModelPart]:
        """Ask a model; raises ModelFailed."""
        async with aclosing((await self._gateway()).stream(request, origin)) as parts:
            async for part in parts:
                yield part

    async def window(self, tenant_id: str, model: str) -> int:
        """The smallest context window, in tokens, of the deployments of a route or model."""
        return await (await self._gateway()).window(tenant_id, model)

    def count(self, model: str, texts: Sequence[str]) -> int:
        """How many tokens these texts are; only after the first call or `warm_up`."""
        assert self._made is not None, "count before warm_up"
        return self._made.count(model, texts)

    async def embed(self, texts: Sequence[str], origin: CallOrigin) -> list[list[float]]:
        """One vector for each text; raises ModelFailed."""
        return await (await self._gateway()).embed(texts, origin)

    async def _gateway(self) -> "LiteLLMGateway":
        async with self._making:
            if self._made is None:
                gateway = await asyncio.to_thread(_load_gateway)
                self._made = gateway(
                    self._settings,
                    ModelCalls(self._database, self._settings),
                    CachedAnswers(self._database),
                    Embeddings(self._database),
                )
        return self._made


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
        """Learn a model with its metrics and its baseline. Raises TrainingImpossible."""
        learner = await asyncio.to_thread(_load_learner)
        return await learner().learn(input, examples, report)


def _load_learner() -> "type[SklearnLearner]":
    from adapters.scoring.learner import SklearnLearner

    return SklearnLearner
