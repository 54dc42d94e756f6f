"""Wiring: the one place where the parts of an API process are put together."""

from typing import Any

from activities.runs.runs import RunReconciler
from adapters.gateway.prompts import prompt_files
from adapters.runs.engine import TemporalEngine, connect
from adapters.schedules.schedules import TemporalSchedules
from adapters.scoring.starter import starter_rules
from api.chat.acceptance import MessageAcceptance
from api.identity.authentication import Authenticator
from api.runs.accepting import RunStarter
from api.runs.launching import Launcher
from api.runs.rescue import LeaseMonitor
from api.runs.streaming import Hub
from db.chat.threads import Threads
from db.chat.turns import Turns
from db.endings import ON_END
from db.gateway import erasure as gateway_erasure
from db.gateway.alerts import Alerts
from db.gateway.budgets import Budgets
from db.gateway.cache import CachedAnswers
from db.gateway.prompts import PromptVersions
from db.gateway.routes import RouteOverrides
from db.gateway.usage import UsageReports
from db.leads import erasure as leads_erasure
from db.leads.leads import Leads
from db.runs.events import Events
from db.runs.feeds import Feeds
from db.runs.leases import Leases
from db.runs.runs import Runs
from db.scoring import erasure as scoring_erasure
from db.scoring.audits import ScoreAudits
from db.scoring.batch_reports import BatchReports
from db.scoring.batches import Batches
from db.scoring.checks import Checks
from db.scoring.experiments import Experiments
from db.scoring.models import ScoringModels
from db.scoring.reports import Reports
from db.scoring.scores import Scores
from db.session import Database
from db.tools.calls import ToolCalls
from domain.scoring.batches import LONGEST_ANSWER_TOKENS, LONGEST_PROMPT_TOKENS
from domain.settings import Settings

# Runs come before the requests for them: an attempt that begins locks them in this order.
FORGETTERS = (
    scoring_erasure.forget_lead,
    gateway_erasure.forget_lead,
    leads_erasure.forget_lead,
)


async def build_parts(
    settings: Settings, database: Database, authenticator: Authenticator
) -> dict[type, Any]:
    """Build the parts that routes ask for, one of each type."""
    client = await connect(lazy=True)
    engine = TemporalEngine(client)
    runs = Runs(database, ON_END)
    reconciler = RunReconciler(runs, engine)
    launcher = Launcher(engine, runs, reconciler, settings)
    parts = (
        settings,
        database,
        authenticator,
        engine,
        launcher,
        reconciler,
        runs,
        LeaseMonitor(Leases(database), engine, settings.lease_seconds),
        MessageAcceptance(settings, Turns(database), launcher),
        RunStarter(runs, launcher),
        TemporalSchedules(client),
        *(ToolCalls(database), Leads(database, FORGETTERS), Threads(database)),
        *_runs(database),
        *_gateway(database, settings),
        *_scoring(database, settings),
    )
    return {type(part): part for part in parts}


def _runs(database: Database) -> tuple[object, ...]:
    events = Events(database)
    return (events, Feeds(database), Hub(events))


def _gateway(database: Database, settings: Settings) -> tuple[object, ...]:
    return (
        Alerts(database),
        Budgets(database),
        CachedAnswers(database),
        PromptVersions(database, prompt_files(), four_eyes=settings.four_eyes),
        RouteOverrides(database),
        UsageReports(database),
    )


def _scoring(database: Database, settings: Settings) -> tuple[object, ...]:
    return (
        Batches(database),
        BatchReports(database, _max_lead_cost(settings)),
        Checks(database),
        Experiments(database),
        Reports(database),
        ScoreAudits(database),
        Scores(database),
        ScoringModels(database, starter_rules()),
    )


def _max_lead_cost(settings: Settings) -> dict[str, int]:
    """Return what a lead costs at most, in micros, by each route whose first deployment has a
    price."""
    costs = {}
    for name, route in settings.routes.items():
        price = settings.deployments[route.deployments[0]].price
        if price is not None:
            cost = LONGEST_PROMPT_TOKENS * price.input + LONGEST_ANSWER_TOKENS * price.output
            costs[name] = round(cost)
    return costs
