"""Runs: what every kind of work has in common, whatever it does."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from domain.base import Contract
from domain.names import Kind


class Usage(Contract):
    """Tokens of a run."""

    input_tokens: int = 0
    output_tokens: int = 0


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
    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"


class RunRef(Contract):
    """Which run: enough to find its rows and its workflow."""

    tenant_id: str
    run_id: str

    @property
    def key(self) -> dict[str, str]:
        """The parameters `tenant` and `run` of a statement about this run."""
        return {"tenant": self.tenant_id, "run": self.run_id}


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


class RunEnd(Contract):
    """How to close a run. `result` joins the data of `run.finished`."""

    run: RunRef
    outcome: Outcome
    error_code: str | None = None
    error_detail: str | None = None
    result: dict[str, Any] = {}


class RunSpec(Contract):
    """A run that is to be started: its workflow's input, and what the Web UI shows of it.

    `delay_seconds` lets what follows at once join this run; `model` is what its row says; `digest`
    is that of the order which a caller's key stands for.
    """

    run: RunRef
    kind: Kind
    subject_id: str
    user_id: str
    model: str
    summary: str
    input: dict[str, Any]
    delay_seconds: float = 0
    urgent: bool = True
    digest: str = ""


class Closed(Contract):
    """A run has ended, by this call or by an earlier one. `next_run`: a turn that was given the
    floor, or the score that a change asks for in place of this one."""

    outcome: Outcome
    next_run: str | None = None
