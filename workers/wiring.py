"""Wiring: the one place where a worker's adapters and activities are put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.client import Client

from activities.chat import ChatActivities
from activities.runs import RunKeeper
from adapters.mcp.task_server import caller_in_meta, task_server
from adapters.mcp.toolbox import McpToolBox
from adapters.models.gateway import LiteLLMGateway
from adapters.temporal import TemporalEngine
from db.calls import Calls
from db.leases import Lease
from db.ledger import Ledger
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
    gateway = LiteLLMGateway(settings)
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
            )
        )
    finally:
        await toolbox.aclose()
        await gateway.close()
