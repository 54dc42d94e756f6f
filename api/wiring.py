"""Wiring: the one place where the parts of an API process are put together."""

from activities.runs.runs import RunReconciler
from adapters.gateway.prompts import prompt_files
from adapters.runs.engine import TemporalEngine, connect
from adapters.schedules.schedules import TemporalSchedules
from adapters.scoring.starter import starter_rules
from api.identity.authentication import Authenticator
from api.runs.launching import Launcher
from api.runs.rescue import LeaseMonitor
from api.runs.streaming import Hub
from api.state import State
from db.chat.threads import Threads
from db.chat.turns import Turns
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
from db.runs.launched import LaunchedRuns
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
from db.tools.calls import Calls
from domain.scoring.batches import LONGEST_ANSWER_TOKENS, LONGEST_PROMPT_TOKENS
from domain.settings import Settings

# Runs come before the requests for them: an attempt that begins locks them in this order.
FORGETTERS = (
    scoring_erasure.forget_lead,
    gateway_erasure.forget_lead,
    leads_erasure.forget_lead,
)


async def made(settings: Settings, database: Database, authenticator: Authenticator) -> State:
    """Everything that routes use."""
    client = await connect(lazy=True)
    engine = TemporalEngine(client, settings)
    ledger, turns, runs = Events(database), Turns(database), Runs(database)
    launches = LaunchedRuns(database)
    reconciler = RunReconciler(turns, launches, engine)
    return State(
        settings=settings,
        database=database,
        engine=engine,
        authenticator=authenticator,
        launcher=Launcher(engine, runs, reconciler),
        lease_monitor=LeaseMonitor(Leases(database), engine),
        hub=Hub(ledger),
        ledger=ledger,
        threads=Threads(database),
        turns=turns,
        runs=runs,
        calls=Calls(database),
        reconciler=reconciler,
        routes=RouteOverrides(database),
        usage=UsageReports(database),
        budgets=Budgets(database),
        alerts=Alerts(database),
        cache=CachedAnswers(database),
        prompts=PromptVersions(database, prompt_files(), four_eyes=settings.four_eyes),
        launches=launches,
        feeds=Feeds(database),
        leads=Leads(database, FORGETTERS),
        scores=Scores(database),
        batches=Batches(database),
        batch_reports=BatchReports(database, _most(settings)),
        reports=Reports(database),
        scoring_models=ScoringModels(database, starter_rules()),
        experiments=Experiments(database),
        score_audits=ScoreAudits(database),
        checks=Checks(database),
        schedules=TemporalSchedules(client),
    )


def _most(settings: Settings) -> dict[str, int]:
    """What a lead costs at most by each route whose first deployment has a price."""
    found = {}
    for name, route in settings.routes.items():
        price = settings.deployments[route.deployments[0]].price
        if price is not None:
            tokens = LONGEST_PROMPT_TOKENS * price.input + LONGEST_ANSWER_TOKENS * price.output
            found[name] = round(tokens)
    return found
