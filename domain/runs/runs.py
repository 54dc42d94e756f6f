"""Runs: what every kind of work has in common, whatever it does."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from domain import names
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


class Verb(StrEnum):
    """What happens to a run. `cancel` only notes that somebody asked for it."""

    ACCEPT = "accept"
    BEGIN = "begin"
    WAIT = "wait"
    RESUME = "resume"
    CANCEL = "cancel"
    END = "end"


Transition = tuple[RunStatus | None, RunStatus]
# All that a verb may do: anything else leaves a run as it is. A run that does not wait for another
# one is running when it is accepted.
TRANSITIONS: Mapping[Verb, frozenset[Transition]] = MappingProxyType(
    {
        Verb.ACCEPT: frozenset({(None, RunStatus.QUEUED), (None, RunStatus.RUNNING)}),
        Verb.BEGIN: frozenset(
            (status, RunStatus.RUNNING)
            for status in (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING)
        ),
        Verb.WAIT: frozenset(
            {(RunStatus.QUEUED, RunStatus.WAITING), (RunStatus.RUNNING, RunStatus.WAITING)}
        ),
        Verb.RESUME: frozenset({(RunStatus.WAITING, RunStatus.RUNNING)}),
        Verb.CANCEL: frozenset(
            (status, RunStatus.CANCELLING)
            for status in (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING)
        ),
        Verb.END: frozenset(
            (status, RunStatus.FINISHED) for status in RunStatus if status is not RunStatus.FINISHED
        ),
    }
)


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

    @classmethod
    def of_workflow(cls, workflow_id: str) -> "RunRef":
        """Return the run that a workflow id stands for."""
        return cls(tenant_id=names.tenant_of(workflow_id), run_id=names.run_of(workflow_id))

    @property
    def key(self) -> dict[str, str]:
        """The parameters `tenant` and `run` of a statement about this run."""
        return {"tenant": self.tenant_id, "run": self.run_id}

    @property
    def workflow_id(self) -> str:
        """The id of the run's workflow."""
        return names.workflow_id(self.tenant_id, self.run_id)


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
    """The end of a run, to be written. `result` joins the data of `run.finished`."""

    run: RunRef
    outcome: Outcome
    error_code: str | None = None
    error_detail: str | None = None
    result: dict[str, Any] = {}


class EndedRun(Contract):
    """A run that has ended, by this call or an earlier one. `next_run`: the turn that was given the
    floor, or the score that a change of a lead asks for in place of this one."""

    outcome: Outcome
    next_run: str | None = None


class RunSpec(Contract):
    """All that a start of a run needs: its workflow's input, and what the Web UI shows of it.

    `delay_seconds` lets what follows at once join this run; `model` is what its row says; `digest`
    is that of the request which a caller's key stands for. `request` is what a schedule asks for:
    it is resolved when the run begins, not when the schedule is made.
    """

    run: RunRef
    kind: Kind
    subject_id: str
    user_id: str
    model: str
    summary: str
    input: dict[str, Any]
    request: dict[str, Any] = {}
    delay_seconds: float = 0
    digest: str = ""


class RunInput(Contract):
    """The input of a workflow that a schedule may start: then it brings the `spec` of its run,
    which nobody has accepted yet."""

    spec: RunSpec | None = None
