"""Endings: what an error in a workflow means for its run."""

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    TimeoutType,
    is_cancelled_exception,
)
from temporalio.exceptions import TimeoutError as ActivityTimeout

with workflow.unsafe.imports_passed_through():
    from domain.runs import Outcome, RunClosing, RunRef


def closing(run: RunRef, error: BaseException) -> RunClosing:
    """How to close a run whose work ended with this error."""
    if is_cancelled_exception(error):
        return RunClosing(run=run, outcome=Outcome.CANCELLED)
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ActivityTimeout) and cause.type is not TimeoutType.HEARTBEAT:
        return RunClosing(run=run, outcome=Outcome.TIMED_OUT)
    code = cause.type if isinstance(cause, ApplicationError) else None
    if code == "budget_exceeded":
        outcome = Outcome.BUDGET_EXCEEDED
    else:
        outcome = Outcome.CANCELLED if code == "run_cancelled" else Outcome.FAILED
    detail = getattr(cause, "message", None) or "A part of the run failed."
    return RunClosing(
        run=run, outcome=outcome, error_code=code or "run_failed", error_detail=detail
    )
