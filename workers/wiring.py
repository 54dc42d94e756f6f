"""Wiring: the one place where a worker's adapters and activities are put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.client import Client

from activities.chat import ChatActivities
from activities.runs import RunKeeper
from adapters.mcp.task_server import caller_in_meta, task_server
from adapters.mcp.toolbox import McpToolBox
from adapters.models.gateway import LiteLLMGateway
from adapters.prompts import prompt_files
from adapters.temporal import TemporalEngine
from db.cache import PostgresCache
from db.calls import Calls
from db.embeddings import PostgresEmbeddings
from db.leases import Lease
from db.ledger import Ledger
from db.models import PostgresCalls
from db.prompts import PostgresPrompts
from db.session import Database
from db.steps import Steps
from db.tasks import PostgresTasks
from db.turns import Turns
from domain.settings import Settings
from workers.fleet import Wired


@asynccontextmanager
async def wired(
    settings: Settings, database: Database, client: Client, lease: Lease
) -> AsyncIterator[Wired]:
    """Everything that a worker's activities need, closed again in the end."""
    turns = Turns(database)
    gateway = LiteLLMGateway(
        settings,
        PostgresCalls(database, settings),
        PostgresCache(database),
        PostgresEmbeddings(database),
    )
    await gateway.warm_up()
    toolbox = McpToolBox(settings, task_server(PostgresTasks(database), caller_in_meta))
    try:
        yield Wired(
            chat=ChatActivities(
                settings=settings,
                turns=turns,
                steps=Steps(database, lease),
                calls=Calls(database, lease),
                log=Ledger(database),
                gateway=gateway,
                toolbox=toolbox,
                keeper=RunKeeper(turns, TemporalEngine(client, settings)),
                prompts=PostgresPrompts(database, prompt_files(), four_eyes=settings.four_eyes),
            )
        )
    finally:
        await toolbox.aclose()
        await gateway.close()
