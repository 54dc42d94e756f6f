"""Schedules: work that comes again, kept by Temporal."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import model_validator

from api.deps import Parts, requires
from api.state import State
from domain.base import StrictModel
from domain.fields import Time
from domain.identity.principals import Principal, Scope
from domain.names import ID_PATTERN
from domain.schedules.schedules import NewSchedule, Schedule
from domain.scoring.batches import Note

router = APIRouter(prefix="/api/v1/schedules", tags=["schedules"])
Reader = Annotated[Principal, Depends(requires(Scope.SCHEDULES_READ))]
Writer = Annotated[Principal, Depends(requires(Scope.SCHEDULES_WRITE))]
Id = Annotated[str, Path(pattern=ID_PATTERN)]
_LONGEST_BACKFILL = timedelta(days=31)


class PauseCreate(StrictModel):
    """Why nothing is to be started."""

    note: Note = ""


class BackfillCreate(StrictModel):
    """Between which moments to make up for what was not started."""

    start_at: Time
    end_at: Time

    @model_validator(mode="after")
    def _short(self) -> "BackfillCreate":
        if not timedelta(0) < self.end_at - self.start_at <= _LONGEST_BACKFILL:
            most = _LONGEST_BACKFILL.days
            raise ValueError(f"end_at must be after start_at, by {most} days at most")
        return self


@router.get("")
async def find(caller: Reader, parts: Parts) -> list[Schedule]:
    """The tenant's schedules, with their next runs and how the last ones ended."""
    return await _with_outcomes(parts, caller, await parts.schedules.find(caller))


@router.post("", status_code=201)
async def create(body: NewSchedule, caller: Writer, parts: Parts) -> Schedule:
    """Create a schedule: a rescoring (`rescore`) or a check (`check`). A run that is due while the
    one before goes on is skipped; after an outage one hour is made up for."""
    if body.work.kind == "rescore":
        await parts.batches.check(caller.tenant_id, body.work.batch)
    return await _shown(parts, caller, await parts.schedules.create(caller, body))


@router.get("/{schedule_id}")
async def read(schedule_id: Id, caller: Reader, parts: Parts) -> Schedule:
    """One schedule."""
    return await _shown(parts, caller, await parts.schedules.read(caller, schedule_id))


@router.delete("/{schedule_id}", status_code=204)
async def delete(schedule_id: Id, caller: Writer, parts: Parts) -> None:
    """Delete a schedule; its runs stay."""
    await parts.schedules.delete(caller, schedule_id)


@router.post("/{schedule_id}/pause")
async def pause(
    schedule_id: Id, caller: Writer, parts: Parts, body: PauseCreate | None = None
) -> Schedule:
    """Start nothing more, with a note that says why."""
    note = body.note if body else ""
    return await _shown(parts, caller, await parts.schedules.pause(caller, schedule_id, note))


@router.post("/{schedule_id}/resume")
async def resume(schedule_id: Id, caller: Writer, parts: Parts) -> Schedule:
    """Go on from now."""
    return await _shown(parts, caller, await parts.schedules.resume(caller, schedule_id))


@router.post("/{schedule_id}/trigger", status_code=202)
async def trigger(schedule_id: Id, caller: Writer, parts: Parts) -> Schedule:
    """Start a run now, unless one is under way."""
    return await _shown(parts, caller, await parts.schedules.trigger(caller, schedule_id))


@router.post("/{schedule_id}/backfill", status_code=202)
async def backfill(schedule_id: Id, body: BackfillCreate, caller: Writer, parts: Parts) -> Schedule:
    """Start what would have been started between two moments, one run after the other."""
    span = (body.start_at, body.end_at)
    return await _shown(parts, caller, await parts.schedules.backfill(caller, schedule_id, *span))


async def _with_outcomes(
    parts: State, caller: Principal, schedules: Sequence[Schedule]
) -> list[Schedule]:
    """Schedules with how their last runs ended, which the record knows."""
    ids = [run.run_id for schedule in schedules for run in schedule.last_runs]
    outcomes = await parts.runs.outcomes(caller.tenant_id, ids)
    return [schedule.with_outcomes(outcomes) for schedule in schedules]


async def _shown(parts: State, caller: Principal, schedule: Schedule) -> Schedule:
    return (await _with_outcomes(parts, caller, [schedule]))[0]
