"""Endings: how a run's work ends it, or what an error in it means."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    TimeoutType,
    is_cancelled_exception,
)
from temporalio.exceptions import TimeoutError as ActivityTimeout

with workflow.unsafe.imports_passed_through():
    from activities.runs.runs import RunActivities
    from domain import names
    from domain.runs.runs import Outcome, RunEnd, RunRef
    from workflows import policy

_LOST = "Every attempt that it may have lost its worker."
_OUTCOMES = {
    "budget_exceeded": Outcome.BUDGET_EXCEEDED,
    "run_cancelled": Outcome.CANCELLED,
}


class _Ended(Protocol):
    @property
    def outcome(self) -> Outcome: ...


Result = TypeVar("Result", bound=_Ended)


async def settled(
    run: RunRef, work: Awaitable[Result], closed: Callable[[Outcome], Result]
) -> Result:
    """What the work of a run comes to; if it fails, the run is `closed` in its stead. Either way
    the outcome can be searched for."""
    try:
        result = await work
    except (asyncio.CancelledError, FailureError) as error:
        ended = await workflow.execute_local_activity_method(
            RunActivities.close_run, closing(run, error), **policy.STORE
        )
        result = closed(ended.outcome)
    tell(result.outcome)
    return result


def tell(outcome: Outcome) -> None:
    """Let a workflow be found by how it ended."""
    workflow.upsert_search_attributes([names.OUTCOME.value_set(outcome.value)])


def closing(run: RunRef, error: BaseException) -> RunEnd:
    """How to close a run whose work ended with this error."""
    if is_cancelled_exception(error):
        return RunEnd(run=run, outcome=Outcome.CANCELLED)
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ActivityTimeout) and cause.type is not TimeoutType.HEARTBEAT:
        return RunEnd(run=run, outcome=Outcome.TIMED_OUT)
    code = cause.type if isinstance(cause, ApplicationError) else None
    if code == "worker_lost" or isinstance(cause, ActivityTimeout):
        return RunEnd(run=run, outcome=Outcome.FAILED, error_code="worker_lost", error_detail=_LOST)
    return RunEnd(
        run=run,
        outcome=_OUTCOMES.get(code or "", Outcome.FAILED),
        error_code=code or "run_failed",
        error_detail=getattr(cause, "message", None) or "A part of the run failed.",
    )
