"""What an API process holds: its stores, its engine, its hub; made once, used by every route."""

from dataclasses import dataclass

from activities.runs import RunKeeper
from adapters.schedules import TemporalSchedules
from adapters.temporal import TemporalEngine
from api.authentication import Authenticator
from api.launching import Launcher
from api.rescue import Rescuer
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
from domain.settings import Settings


@dataclass(frozen=True)
class State:
    """The parts that routes use."""

    settings: Settings
    database: Database
    engine: TemporalEngine
    authenticator: Authenticator
    launcher: Launcher
    rescuer: Rescuer
    hub: Hub
    ledger: Ledger
    threads: Threads
    turns: Turns
    runs: Runs
    calls: Calls
    keeper: RunKeeper
    routes: RouteOverrides
    usage: UsageReports
    budgets: Budgets
    alerts: Alerts
    cache: PostgresCache
    prompts: PostgresPrompts
    launches: LaunchedRuns
    feeds: Feeds
    leads: Leads
    scores: Scores
    batches: Batches
    batch_reports: BatchReports
    reports: Reports
    scoring_models: ScoringModels
    experiments: Experiments
    score_audits: ScoreAudits
    checks: Checks
    schedules: TemporalSchedules
