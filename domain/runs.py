"""Runs: what every kind of work has in common, whatever it does."""

from datetime import datetime
from enum import StrEnum

from domain.base import Contract
from domain.models import Usage
from domain.names import Kind


class RunStatus(StrEnum):
    """Where a run is. `waiting`: a person must decide; `finished`: see its outcome."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    CANCELLING = "cancelling"
    FINISHED = "finished"


class Outcome(StrEnum):
    """How a run ended; every ending is a result, never an exception."""

    ANSWERED = "answered"
    DEGRADED = "degraded"
    BUDGET_EXCEEDED = "budget_exceeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    EXHAUSTED = "exhausted"
    TIMED_OUT = "timed_out"
    TERMINATED = "terminated"


class RunRef(Contract):
    """Which run: enough to find its rows and its workflow."""

    tenant_id: str
    run_id: str


class RunError(Contract):
    """Why a run failed, in words for people and a code for programs."""

    code: str
    detail: str


class Run(Contract):
    """A run as the API shows it. `subject_id` is what it is about: a turn's thread."""

    id: str
    kind: Kind
    subject_id: str
    user_id: str
    status: RunStatus
    outcome: Outcome | None
    error: RunError | None
    model: str
    steps: int
    last_seq: int
    usage: Usage
    cost_micros: int
    created_at: datetime
    finished_at: datetime | None


class Ending(Contract):
    """How to close a run that did not close itself."""

    outcome: Outcome
    error: RunError | None = None


class Closed(Contract):
    """A run has ended, by this call or by an earlier one; `next_run` was given the floor."""

    outcome: Outcome
    next_run: str | None = None
