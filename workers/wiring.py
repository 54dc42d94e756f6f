"""Wiring: the one place where a worker's adapters and activities are put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.client import Client

from activities.batches import BatchActivities
from activities.chat import ChatActivities
from activities.checks import CheckActivities
from activities.leads import LeadActivities
from activities.runs import RunActivities, RunKeeper
from activities.scoring import Scorers
from activities.trainings import TrainingActivities
from adapters.mcp.task_server import caller_in_meta, task_server
from adapters.mcp.toolbox import McpToolBox
from adapters.prompts import prompt_files
from adapters.rules import starter_rules
from adapters.temporal import TemporalEngine
from db.batches import Batches
from db.calls import Calls
from db.checks import Checks
from db.launched_runs import LaunchedRuns
from db.leases import Lease
from db.ledger import Ledger
from db.prompts import PostgresPrompts
from db.scores import Scores
from db.scoring_models import ScoringModels
from db.session import Database
from db.steps import Steps
from db.tasks import PostgresTasks
from db.trainings import Trainings
from db.turns import Turns
from domain.settings import Settings
from workers.fleet import Wired
from workers.gateway import LateGateway
from workers.learner import LateLearner


@asynccontextmanager
async def wired(
    settings: Settings, database: Database, client: Client, lease: Lease, *, talks: bool
) -> AsyncIterator[Wired]:
    """Everything that a worker's activities need, closed again in the end.

    `talks`: somebody will wait for a model's answer, so what asks models is loaded before.
    """
    turns, launches = Turns(database), LaunchedRuns(database)
    gateway = LateGateway(settings, database)
    if talks:
        await gateway.warm_up()
    prompts = PostgresPrompts(database, prompt_files(), four_eyes=settings.four_eyes)
    registry = ScoringModels(database, starter_rules())
    scorers = Scorers(registry, gateway, prompts)
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
                keeper=RunKeeper(turns, launches, TemporalEngine(client, settings)),
                prompts=prompts,
            ),
            leads=LeadActivities(Scores(database, lease), scorers),
            batches=BatchActivities(Batches(database, settings.batch_chunk), scorers),
            trainings=TrainingActivities(Trainings(database, lease), LateLearner(), registry),
            checks=CheckActivities(Checks(database)),
            runs=RunActivities(launches),
        )
    finally:
        await toolbox.aclose()
        await gateway.close()
