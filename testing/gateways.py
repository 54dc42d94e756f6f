"""The gateway as a worker has it, on the database of a stack, with settings of a test's own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from adapters.gateway.gateway import LiteLLMGateway
from db.gateway.cache import CachedAnswers
from db.gateway.calls import ModelCalls
from db.gateway.embeddings import Embeddings
from db.session import database_of
from domain.errors import ModelFailed
from domain.gateway.calls import CallOrigin
from domain.gateway.completions import ModelPart, ModelRequest, PromptMessage
from domain.settings import Settings
from testing.database import settings_of
from testing.stack import Stack


def settings_with(stack: Stack, **environ: str) -> Settings:
    """Return the stack's settings with these as `PERDURE_<NAME>`, and nothing of the machine's."""
    named = {f"PERDURE_{name.upper()}": text for name, text in environ.items()}
    known = settings_of(stack)
    fields = ("data_dir", "database_url", "secret")
    return Settings.from_env(named).model_copy(
        update={name: getattr(known, name) for name in fields}
    )


@asynccontextmanager
async def gateway_on(settings: Settings) -> AsyncIterator[LiteLLMGateway]:
    """Open a gateway with connections of its own."""
    database = database_of(settings)
    await database.open()
    gateway = LiteLLMGateway(
        settings,
        ModelCalls(database, settings),
        CachedAnswers(database),
        Embeddings(database),
    )
    try:
        await gateway.warm_up()
        yield gateway
    finally:
        await gateway.close()
        await database.close()


def question(text: str, model: str = "chat", **more: Any) -> ModelRequest:
    """Return a request with one user's question."""
    return ModelRequest(model=model, messages=(PromptMessage(role="user", text=text),), **more)


def origin(tenant: str, user: str = "ann", **more: Any) -> CallOrigin:
    """Return the origin of a call."""
    return CallOrigin(tenant_id=tenant, user_id=user, feature="chat", **more)


async def parts_of(
    gateway: LiteLLMGateway, request: ModelRequest, who: CallOrigin
) -> list[ModelPart]:
    """Return all parts of an answer."""
    return [part async for part in gateway.stream(request, who)]


async def refusal_of(
    gateway: LiteLLMGateway, request: ModelRequest, who: CallOrigin
) -> ModelFailed | None:
    """Return why there was no answer, if there was none."""
    try:
        await gateway.ask(request, who)
    except ModelFailed as failed:
        return failed
    return None
