"""Wiring: the one place where the parts of an API process are put together."""

from activities.runs import RunKeeper
from adapters.prompts import prompt_files
from adapters.rules import starter_rules
from adapters.schedules import TemporalSchedules
from adapters.temporal import TemporalEngine, connect
from api.authentication import Authenticator
from api.launching import Launcher
from api.rescue import Rescuer
from api.state import State
from api.streaming import Hub
from db.alerts import Alerts
from db.batch_reports import BatchReports
from db.batches import Batches
from db.budgets import Budgets
from db.cache import PostgresCache
from db.calls import Calls
from db.checks import Checks
from db.experiments import Experiments
from db.feeds import Feeds
from db.launched_runs import LaunchedRuns
from db.leads import Leads
from db.leases import Leases
from db.ledger import Ledger
from db.prompts import PostgresPrompts
from db.reports import Reports
from db.routes import RouteOverrides
from db.runs import Runs
from db.score_audits import ScoreAudits
from db.scores import Scores
from db.scoring_models import ScoringModels
from db.session import Database
from db.threads import Threads
from db.turns import Turns
from db.usage import UsageReports
from domain.batches import LONGEST_ANSWER_TOKENS, LONGEST_PROMPT_TOKENS
from domain.settings import Settings


async def made(settings: Settings, database: Database, authenticator: Authenticator) -> State:
    """Everything that routes use."""
    client = await connect(lazy=True)
    engine = TemporalEngine(client, settings)
    ledger, turns, runs = Ledger(database), Turns(database), Runs(database)
    launches = LaunchedRuns(database)
    keeper = RunKeeper(turns, launches, engine)
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
        launches=launches,
        feeds=Feeds(database),
        leads=Leads(database),
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
