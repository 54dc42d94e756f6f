"""Schedules: work that comes again, kept by Temporal."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import model_validator

from api.problems import errors
from api.runs.dependencies import Runs
from api.schedules.dependencies import ScheduleReader, Schedules, ScheduleWriter
from api.scoring.dependencies import Batches
from domain.base import StrictModel
from domain.errors import TemporalUnavailable
from domain.fields import Time
from domain.identity.principals import Principal
from domain.names import ID_PATTERN
from domain.schedules.errors import ScheduleExists, ScheduleInvalid, ScheduleUnknown
from domain.schedules.schedules import NewSchedule, Schedule
from domain.scoring.batches import Note
from domain.scoring.errors import (
    BatchUnknown,
    ExperimentStopped,
    ExperimentUnknown,
    ModelNotApproved,
    ModelRetired,
    ModelUnknown,
)

router = APIRouter(prefix="/api/v1/schedules", tags=["schedules"])
Id = Annotated[str, Path(pattern=ID_PATTERN)]
_LONGEST_BACKFILL = timedelta(days=31)


class SchedulePause(StrictModel):
    """The reason why nothing is to be started."""

    note: Note = ""


class BackfillCreate(StrictModel):
    """The two moments between which to make up for what was not started."""

    start_at: Time
    end_at: Time

    @model_validator(mode="after")
    def _short(self) -> "BackfillCreate":
        if not timedelta(0) < self.end_at - self.start_at <= _LONGEST_BACKFILL:
            days = _LONGEST_BACKFILL.days
            raise ValueError(f"end_at must be after start_at, by {days} days at most")
        return self


@router.get("", responses=errors(TemporalUnavailable))
async def find(caller: ScheduleReader, schedules: Schedules, runs: Runs) -> list[Schedule]:
    """List the tenant's schedules, with their next runs and how the last ones ended."""
    return await _with_outcomes(runs, caller, await schedules.find(caller))


@router.post(
    "",
    status_code=201,
    responses=errors(
        *(ScheduleExists, ScheduleInvalid, TemporalUnavailable),
        *(ModelUnknown, ModelRetired, ModelNotApproved),
        *(ExperimentUnknown, ExperimentStopped, BatchUnknown),
    ),
)
async def create(
    body: NewSchedule, caller: ScheduleWriter, batches: Batches, schedules: Schedules, runs: Runs
) -> Schedule:
    """Create a schedule: a rescoring (`rescore`) or a check (`check`). A run that is due while the
    one before goes on is skipped; after an outage one hour is made up for."""
    if body.work.kind == "rescore":
        await batches.check(caller.tenant_id, body.work.batch)
    return await _with_outcome(runs, caller, await schedules.create(caller, body))


@router.get("/{schedule_id}", responses=errors(ScheduleUnknown, TemporalUnavailable))
async def read(
    schedule_id: Id, caller: ScheduleReader, schedules: Schedules, runs: Runs
) -> Schedule:
    """Return one schedule."""
    return await _with_outcome(runs, caller, await schedules.read(caller, schedule_id))


@router.delete(
    "/{schedule_id}", status_code=204, responses=errors(ScheduleUnknown, TemporalUnavailable)
)
async def delete(schedule_id: Id, caller: ScheduleWriter, schedules: Schedules) -> None:
    """Delete a schedule; its runs stay."""
    await schedules.delete(caller, schedule_id)


@router.post("/{schedule_id}/pause", responses=errors(ScheduleUnknown, TemporalUnavailable))
async def pause(
    schedule_id: Id,
    caller: ScheduleWriter,
    schedules: Schedules,
    runs: Runs,
    body: SchedulePause | None = None,
) -> Schedule:
    """Start nothing more, with a note that says why."""
    note = body.note if body else ""
    return await _with_outcome(runs, caller, await schedules.pause(caller, schedule_id, note))


@router.post("/{schedule_id}/resume", responses=errors(ScheduleUnknown, TemporalUnavailable))
async def resume(
    schedule_id: Id, caller: ScheduleWriter, schedules: Schedules, runs: Runs
) -> Schedule:
    """Go on from now."""
    return await _with_outcome(runs, caller, await schedules.resume(caller, schedule_id))


@router.post(
    "/{schedule_id}/trigger",
    status_code=202,
    responses=errors(ScheduleUnknown, TemporalUnavailable),
)
async def trigger(
    schedule_id: Id, caller: ScheduleWriter, schedules: Schedules, runs: Runs
) -> Schedule:
    """Start a run now, unless one is under way."""
    return await _with_outcome(runs, caller, await schedules.trigger(caller, schedule_id))


@router.post(
    "/{schedule_id}/backfill",
    status_code=202,
    responses=errors(ScheduleUnknown, TemporalUnavailable),
)
async def backfill(
    schedule_id: Id, body: BackfillCreate, caller: ScheduleWriter, schedules: Schedules, runs: Runs
) -> Schedule:
    """Start what would have been started between two moments, one run after the other."""
    span = (body.start_at, body.end_at)
    return await _with_outcome(runs, caller, await schedules.backfill(caller, schedule_id, *span))


async def _with_outcomes(
    runs: Runs, caller: Principal, schedules: Sequence[Schedule]
) -> list[Schedule]:
    """Return schedules with how their last runs ended, which the record knows."""
    ids = [run.run_id for schedule in schedules for run in schedule.last_runs]
    outcomes = await runs.outcomes(caller.tenant_id, ids)
    return [schedule.with_outcomes(outcomes) for schedule in schedules]


async def _with_outcome(runs: Runs, caller: Principal, schedule: Schedule) -> Schedule:
    return (await _with_outcomes(runs, caller, [schedule]))[0]
