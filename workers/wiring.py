"""Wiring: the one place where a worker's adapters and activities are put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.client import Client

from activities.chat.steps import StepActivities
from activities.chat.turns import TurnActivities
from activities.runs.runs import RunActivities, RunReconciler
from activities.scoring.batches import BatchActivities
from activities.scoring.checks import CheckActivities
from activities.scoring.scorers import Scorers
from activities.scoring.scores import ScoreActivities
from activities.scoring.trainings import TrainingActivities
from activities.tools.calls import ToolActivities
from adapters.gateway.prompts import prompt_files
from adapters.runs.engine import TemporalEngine
from adapters.scoring.starter import starter_rules
from adapters.tools.todo_server import caller_in_meta, todo_server
from adapters.tools.toolbox import McpToolBox
from db.chat.steps import Steps
from db.chat.turns import Turns
from db.endings import ON_END
from db.gateway.prompts import PromptVersions
from db.runs.events import Events
from db.runs.leases import Lease
from db.runs.runs import Runs
from db.scoring.batches import Batches
from db.scoring.checks import Checks
from db.scoring.models import ScoringModels
from db.scoring.scores import Scores
from db.scoring.trainings import Trainings
from db.session import Database
from db.tools.calls import ToolCalls
from db.tools.todos import Todos
from domain.settings import Settings
from workers.fleet import FleetActivities
from workers.lazy import LazyGateway, LazyLearner


@asynccontextmanager
async def build_activities(
    settings: Settings, database: Database, client: Client, lease: Lease, *, warm_up: bool
) -> AsyncIterator[FleetActivities]:
    """Build a worker's activities on their adapters, which are closed again in the end.

    `warm_up`: somebody will wait for a model's answer, so the gateway is loaded now.
    """
    runs = Runs(database, ON_END)
    reconciler = RunReconciler(runs, TemporalEngine(client))
    gateway = LazyGateway(settings, database)
    if warm_up:
        await gateway.warm_up()
    prompts = PromptVersions(database, prompt_files(), four_eyes=settings.four_eyes)
    registry = ScoringModels(database, starter_rules())
    scorers = Scorers(registry, gateway, prompts)
    toolbox = McpToolBox(settings, todo_server(Todos(database), caller_in_meta))
    try:
        yield FleetActivities(
            turns=TurnActivities(Turns(database), runs, reconciler),
            steps=StepActivities(
                settings=settings,
                steps=Steps(database, lease),
                log=Events(database),
                gateway=gateway,
                toolbox=toolbox,
                prompts=prompts,
            ),
            tools=ToolActivities(ToolCalls(database, lease), toolbox, settings.decision_limit),
            scores=ScoreActivities(Scores(database, lease), scorers),
            batches=BatchActivities(Batches(database, settings.batch_chunk), scorers),
            trainings=TrainingActivities(Trainings(database, lease), LazyLearner(), registry),
            checks=CheckActivities(Checks(database)),
            runs=RunActivities(runs),
        )
    finally:
        await toolbox.aclose()
        await gateway.close()
