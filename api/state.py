"""What an API process holds: its stores, its engine, its hub; made once, used by every route."""

from dataclasses import dataclass

from activities.runs.runs import RunReconciler
from adapters.runs.engine import TemporalEngine
from adapters.schedules.schedules import TemporalSchedules
from api.identity.authentication import Authenticator
from api.runs.launching import Launcher
from api.runs.rescue import LeaseMonitor
from api.runs.streaming import Hub
from db.chat.threads import Threads
from db.chat.turns import Turns
from db.gateway.alerts import Alerts
from db.gateway.budgets import Budgets
from db.gateway.cache import CachedAnswers
from db.gateway.prompts import PromptVersions
from db.gateway.routes import RouteOverrides
from db.gateway.usage import UsageReports
from db.leads.leads import Leads
from db.runs.events import Events
from db.runs.feeds import Feeds
from db.runs.runs import Runs
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
from domain.settings import Settings


@dataclass(frozen=True)
class State:
    """The parts that routes use."""

    settings: Settings
    database: Database
    engine: TemporalEngine
    authenticator: Authenticator
    launcher: Launcher
    lease_monitor: LeaseMonitor
    hub: Hub
    ledger: Events
    threads: Threads
    turns: Turns
    runs: Runs
    calls: ToolCalls
    reconciler: RunReconciler
    routes: RouteOverrides
    usage: UsageReports
    budgets: Budgets
    alerts: Alerts
    cache: CachedAnswers
    prompts: PromptVersions
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
