"""Kinds of runs: one row for each kind of work, read by everybody who asks what a run is."""

from dataclasses import dataclass
from datetime import timedelta

from domain.identity.principals import Principal, Scope
from domain.names import Kind, Lane, TaskQueue, WorkflowType


@dataclass(frozen=True)
class RunKind:
    """One kind of work: where it runs, how urgently, and who may look at it and stop it.

    `read` is the scope that shows everybody's runs of this kind: one's own need no scope.
    `wake_signal` tells a run that waits for another to look again; `execution_timeout` is how long
    a workflow may take, with all that it began anew.
    """

    name: Kind
    workflow: WorkflowType
    queue: TaskQueue
    lane: int
    read: Scope
    cancel: Scope
    wake_signal: str | None = None
    execution_timeout: timedelta = timedelta(days=14)


_ROWS = (
    RunKind(
        Kind.TURN,
        WorkflowType.CHAT_TURN,
        TaskQueue.CHAT,
        Lane.INTERACTIVE,
        read=Scope.THREADS_ADMIN,
        cancel=Scope.RUNS_WRITE,
        wake_signal="give_floor",
    ),
    RunKind(
        Kind.SCORE,
        WorkflowType.LEAD_SCORE,
        TaskQueue.LEADS,
        Lane.INTERACTIVE,
        read=Scope.SCORING_READ,
        cancel=Scope.SCORING_WRITE,
    ),
    RunKind(
        Kind.BATCH,
        WorkflowType.LEAD_BATCH,
        TaskQueue.BATCH,
        Lane.BATCH,
        read=Scope.SCORING_READ,
        cancel=Scope.SCORING_WRITE,
    ),
    RunKind(
        Kind.TRAINING,
        WorkflowType.MODEL_TRAINING,
        TaskQueue.BATCH,
        Lane.BATCH,
        read=Scope.SCORING_READ,
        cancel=Scope.SCORING_WRITE,
    ),
    RunKind(
        Kind.CHECK,
        WorkflowType.SCORE_CHECK,
        TaskQueue.BATCH,
        Lane.BATCH,
        read=Scope.SCORING_READ,
        cancel=Scope.SCORING_WRITE,
    ),
)
# A feed has no row: it is a log that nothing starts, stops or ends.
KINDS = {row.name: row for row in _ROWS}


def readable_by(caller: Principal) -> list[Kind]:
    """Return the kinds of which the caller may read everybody's runs."""
    return [kind.name for kind in KINDS.values() if caller.may(kind.read)]
