"""The app: its routes, its errors, and what lives as long as the process."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.routing import Route

from adapters.readiness import say_ready
from adapters.tools.http import TodoEndpoint
from api import health, interface, problems
from api.chat import messages, threads, todo
from api.edge import Edge
from api.gateway import alerts, budgets, models, prompts, usage
from api.identity.authentication import Authenticator
from api.leads import leads
from api.runs import runs
from api.schedules import schedules
from api.scoring import audits, batches, experiments, scores
from api.scoring import models as scoring_models
from api.wiring import made
from db.identity.tenants import Keys
from db.session import database_of
from db.tools.todos import Todos
from domain.settings import Settings

_ROUTES = (
    *(health, threads, messages, runs, todo, models, usage, budgets, prompts, alerts),
    *(leads, scores, batches, scoring_models, experiments, audits, schedules),
)
_log = structlog.get_logger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The API over these settings."""
    database = database_of(settings)
    authenticator = Authenticator(Keys(database), settings.secret.get_secret_value())
    mcp = TodoEndpoint(Todos(database), authenticator, settings.allowed_hosts)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await database.open()
            stack.push_async_callback(database.close)
            state = app.state.perdure = await made(settings, database, authenticator)
            await stack.enter_async_context(mcp.run())
            for work in (state.hub.run(), state.launcher.sweep(), state.lease_monitor.run()):
                task = asyncio.create_task(work)
                task.add_done_callback(_end_process)
                stack.callback(task.cancel)
            say_ready(settings)
            yield

    app = FastAPI(title="Perdure", version="0.1.0", lifespan=lifespan, openapi_url=None)
    registry = CollectorRegistry()
    app.state.registry = registry
    problems.install(app)
    interface.install(app)
    for routes in _ROUTES:
        app.include_router(routes.router)
    app.router.routes.append(Route("/mcp", mcp))
    app.add_middleware(Edge, registry=registry)
    return app


def _end_process(task: asyncio.Task[None]) -> None:
    """Without its hub or its sweep a process only seems alive: better to be started again."""
    if not task.cancelled():
        _log.critical("background work ended", exc_info=task.exception())
        signal.raise_signal(signal.SIGTERM)
