"""The app: its routes, its errors, and what lives as long as the process."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.routing import Route

from adapters.readiness import report_ready
from adapters.tools.http import TodoEndpoint
from api import health, interface, problems
from api.chat import messages, threads, todo
from api.edge import RequestLimits
from api.gateway import alerts, budgets, models, prompts, usage
from api.identity.authentication import Authenticator
from api.interface import VERSION
from api.leads import leads
from api.runs import runs
from api.runs.launching import Launcher
from api.runs.rescue import LeaseMonitor
from api.runs.streaming import Hub
from api.schedules import schedules
from api.scoring import audits, batches, checks, experiments, scores, trainings
from api.scoring import models as scoring_models
from api.wiring import build_parts
from db.identity.tenants import Keys
from db.session import database_of
from db.tools.todos import Todos
from domain.settings import Settings

_ROUTES = (
    *(health, threads, messages, runs, todo, models, usage, budgets, prompts, alerts),
    *(leads, scores, batches, scoring_models, trainings, experiments, audits, checks, schedules),
)
_log = structlog.get_logger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """Build the API over these settings. Raises SettingsInvalid."""
    database = database_of(settings)
    authenticator = Authenticator(Keys(database), settings.secret.get_secret_value())
    mcp = TodoEndpoint(Todos(database), authenticator, settings.allowed_hosts)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await database.open()
            stack.push_async_callback(database.close)
            parts = app.state.parts = await build_parts(settings, database, authenticator)
            await stack.enter_async_context(mcp.run())
            for work in (parts[Hub].run(), parts[Launcher].sweep(), parts[LeaseMonitor].run()):
                task = asyncio.create_task(work)
                task.add_done_callback(_end_process)
                stack.callback(task.cancel)
            report_ready(settings)
            yield

    app = FastAPI(title="Perdure", version=VERSION, lifespan=lifespan, openapi_url=None)
    registry = CollectorRegistry()
    app.state.registry = registry
    problems.install(app)
    interface.install(app)
    for routes in _ROUTES:
        app.include_router(routes.router)
    app.router.routes.append(Route("/mcp", mcp))
    app.add_middleware(RequestLimits, registry=registry)
    return app


def _end_process(task: asyncio.Task[None]) -> None:
    """End the process: without its hub or its sweep it only seems alive."""
    if not task.cancelled():
        _log.critical("background work ended", exc_info=task.exception())
        signal.raise_signal(signal.SIGTERM)
