"""The app: its routes, its errors, and what lives as long as the process."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.routing import Route

from activities.runs import RunKeeper
from adapters.mcp.http import TaskEndpoint
from adapters.prompts import prompt_files
from adapters.readiness import say_ready
from adapters.temporal import TemporalEngine, connect
from api import problems
from api.authentication import Authenticator
from api.edge import Edge
from api.launching import Launcher
from api.rescue import Rescuer
from api.routes import (
    alerts,
    budgets,
    chat,
    health,
    models,
    prompts,
    runs,
    threads,
    todo,
    usage,
)
from api.state import State
from api.streaming import Hub
from db.alerts import Alerts
from db.budgets import Budgets
from db.cache import PostgresCache
from db.calls import Calls
from db.leases import Leases
from db.ledger import Ledger
from db.prompts import PostgresPrompts
from db.routes import RouteOverrides
from db.runs import Runs
from db.session import Database, database_of
from db.tasks import PostgresTasks
from db.tenants import Keys
from db.threads import Threads
from db.turns import Turns
from db.usage import UsageReports
from domain.settings import Settings

_log = structlog.get_logger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The API over these settings."""
    database = database_of(settings)
    authenticator = Authenticator(Keys(database), settings.secret.get_secret_value())
    mcp = TaskEndpoint(PostgresTasks(database), authenticator, settings.allowed_hosts)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await database.open()
            stack.push_async_callback(database.close)
            state = app.state.perdure = await _state(settings, database, authenticator)
            await stack.enter_async_context(mcp.run())
            for work in (state.hub.run(), state.launcher.sweep(), state.rescuer.run()):
                task = asyncio.create_task(work)
                task.add_done_callback(_end_process)
                stack.callback(task.cancel)
            say_ready(settings)
            yield

    app = FastAPI(title="Perdure", version="0.1.0", lifespan=lifespan)
    registry = CollectorRegistry()
    app.state.registry = registry
    problems.install(app)
    for routes in (health, threads, chat, runs, todo, models, usage, budgets, prompts, alerts):
        app.include_router(routes.router)
    app.router.routes.append(Route("/mcp", mcp))
    app.add_middleware(Edge, registry=registry)
    return app


def _end_process(task: asyncio.Task[None]) -> None:
    """Without its hub or its sweep a process only seems alive: better to be started again."""
    if not task.cancelled():
        _log.critical("background work ended", exc_info=task.exception())
        signal.raise_signal(signal.SIGTERM)


async def _state(settings: Settings, database: Database, authenticator: Authenticator) -> State:
    engine = TemporalEngine(await connect(lazy=True), settings)
    ledger, turns, runs = Ledger(database), Turns(database), Runs(database)
    keeper = RunKeeper(turns, engine)
    return State(
        settings=settings,
        database=database,
        engine=engine,
        authenticator=authenticator,
        launcher=Launcher(engine, runs, keeper),
        rescuer=Rescuer(Leases(database), engine),
        hub=Hub(ledger),
        ledger=ledger,
        threads=Threads(database),
        turns=turns,
        runs=runs,
        calls=Calls(database),
        keeper=keeper,
        routes=RouteOverrides(database),
        usage=UsageReports(database),
        budgets=Budgets(database),
        alerts=Alerts(database),
        cache=PostgresCache(database),
        prompts=PostgresPrompts(database, prompt_files(), four_eyes=settings.four_eyes),
    )
