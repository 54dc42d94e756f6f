"""Schedules: work that comes again, kept by Temporal."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import Field, model_validator

from api.deps import Parts, requires
from api.state import State
from api.texts import OneLine, Strict
from domain.auth import Principal, Scope
from domain.names import ID_PATTERN
from domain.schedules import NewSchedule, Schedule
from domain.stored import Time

router = APIRouter(prefix="/api/v1/schedules", tags=["schedules"])
Reader = Annotated[Principal, Depends(requires(Scope.SCHEDULES_READ))]
Writer = Annotated[Principal, Depends(requires(Scope.SCHEDULES_WRITE))]
Id = Annotated[str, Path(pattern=ID_PATTERN)]
_LONGEST_BACKFILL = timedelta(days=31)


class PauseCreate(Strict):
    """Why nothing is to be started."""

    note: Annotated[OneLine, Field(max_length=200)] = ""


class BackfillCreate(Strict):
    """Between which moments to make up for what was not started."""

    start_at: Time
    end_at: Time

    @model_validator(mode="after")
    def _short(self) -> "BackfillCreate":
        if not timedelta(0) < self.end_at - self.start_at <= _LONGEST_BACKFILL:
            raise ValueError(
                f"it may last {_LONGEST_BACKFILL.days} days, and ends behind its start"
            )
        return self


@router.get("")
async def find(caller: Reader, parts: Parts) -> list[Schedule]:
    """The tenant's schedules, with their next runs and how the last ones ended."""
    return [await _told(parts, caller, each) for each in await parts.schedules.find(caller)]


@router.post("", status_code=201)
async def create(body: NewSchedule, caller: Writer, parts: Parts) -> Schedule:
    """Create a schedule: a rescoring (`rescore`) or a check (`check`). A run that is due while the
    one before goes on is skipped; after an outage one hour is made up for."""
    if body.work.kind == "rescore":
        await parts.batches.check(caller.tenant_id, body.work.batch)
    return await parts.schedules.create(caller, body)


@router.get("/{schedule_id}")
async def read(schedule_id: Id, caller: Reader, parts: Parts) -> Schedule:
    """One schedule."""
    return await _told(parts, caller, await parts.schedules.read(caller, schedule_id))


@router.delete("/{schedule_id}", status_code=204)
async def delete(schedule_id: Id, caller: Writer, parts: Parts) -> None:
    """Delete a schedule; its runs stay."""
    await parts.schedules.delete(caller, schedule_id)


@router.post("/{schedule_id}/pause")
async def pause(
    schedule_id: Id, caller: Writer, parts: Parts, body: PauseCreate | None = None
) -> Schedule:
    """Start nothing more, with a note that says why."""
    return await parts.schedules.pause(caller, schedule_id, body.note if body else "")


@router.post("/{schedule_id}/resume")
async def resume(schedule_id: Id, caller: Writer, parts: Parts) -> Schedule:
    """Go on from now."""
    return await parts.schedules.resume(caller, schedule_id)


@router.post("/{schedule_id}/trigger", status_code=202)
async def trigger(schedule_id: Id, caller: Writer, parts: Parts) -> Schedule:
    """Start a run now, unless one is under way."""
    return await parts.schedules.trigger(caller, schedule_id)


@router.post("/{schedule_id}/backfill", status_code=202)
async def backfill(schedule_id: Id, body: BackfillCreate, caller: Writer, parts: Parts) -> Schedule:
    """Start what would have been started between two moments, one run after the other."""
    return await parts.schedules.backfill(caller, schedule_id, body.start_at, body.end_at)


async def _told(parts: State, caller: Principal, schedule: Schedule) -> Schedule:
    """The schedule with how its last runs ended, which the record knows."""
    ids = [run.run_id for run in schedule.last_runs]
    outcomes = await parts.runs.outcomes(caller.tenant_id, ids)
    runs = [
        run.model_copy(update={"outcome": outcomes.get(run.run_id)}) for run in schedule.last_runs
    ]
    return schedule.model_copy(update={"last_runs": runs})
