"""Both ends of a run's workflow: how it is accepted, and what an error in its work means."""

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
    from domain.runs.runs import Outcome, RunEnd, RunInput, RunRef, RunSpec
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


async def accept_run(input: RunInput) -> RunRef:
    """Return the run of this workflow, written down now if a schedule has started it. One that is
    cancelled meanwhile is in the record all the same."""
    run = RunRef.of_workflow(workflow.info().workflow_id)
    if input.spec is not None:
        accepting = asyncio.create_task(_accept(input.spec.model_copy(update={"run": run})))
        try:
            await asyncio.shield(accepting)
        except asyncio.CancelledError:
            await accepting
            raise
    return run


async def _accept(spec: RunSpec) -> None:
    await workflow.execute_local_activity_method(RunActivities.accept_run, spec, **policy.STORE)


async def run_to_end(
    run: RunRef, work: Awaitable[Result], result_of: Callable[[Outcome], Result]
) -> Result:
    """Await the work of a run and return its result. If it fails, the run is ended in its stead,
    and the result is that of its outcome. Either way the outcome can be searched for."""
    try:
        result = await work
    except (asyncio.CancelledError, FailureError) as error:
        ended = await workflow.execute_local_activity_method(
            RunActivities.close_run, end_of(run, error), **policy.STORE
        )
        result = result_of(ended.outcome)
    set_outcome_attribute(result.outcome)
    return result


def set_outcome_attribute(outcome: Outcome) -> None:
    """Let a workflow be found by how it ended."""
    workflow.upsert_search_attributes([names.OUTCOME.value_set(outcome.value)])


def end_of(run: RunRef, error: BaseException) -> RunEnd:
    """Return the end of a run whose work ended with this error."""
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
