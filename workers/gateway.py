"""The gateway, made when it is first needed: what calls models takes seconds and memory to load,
and many a worker that scores by rules never asks one."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from db.cache import PostgresCache
from db.embeddings import PostgresEmbeddings
from db.models import PostgresCalls
from db.session import Database
from domain.models import ModelPart, ModelRequest
from domain.settings import Settings
from domain.usage import CallOrigin

if TYPE_CHECKING:
    from adapters.models.gateway import LiteLLMGateway


class LateGateway:
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
                gateway = await asyncio.to_thread(_load)
                self._made = gateway(
                    self._settings,
                    PostgresCalls(self._database, self._settings),
                    PostgresCache(self._database),
                    PostgresEmbeddings(self._database),
                )
        return self._made


def _load() -> "type[LiteLLMGateway]":
    from adapters.models.gateway import LiteLLMGateway

    return LiteLLMGateway
