"""Schedules: recurring work, as Temporal Schedules store it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from domain.base import Contract, StrictModel
from domain.names import ID_PATTERN, Kind, run_id
from domain.runs.runs import Outcome, RunRef, RunSpec
from domain.scoring import checks
from domain.scoring.batches import BatchRequest, Note, scheduled_spec
from domain.scoring.checks import CheckRequest

ScheduleId = Annotated[str, Field(pattern=ID_PATTERN)]


def _time_zone(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{zone!r} is no time zone of the IANA database") from None
    return zone


class ScheduleSpec(StrictModel):
    """The times of a schedule: a cron expression of five fields or an interval, in a time zone.
    `jitter_seconds` spreads the starts, so that not all tenants begin at once."""

    cron: str | None = Field(default=None, max_length=200)
    every_seconds: float | None = Field(default=None, ge=60, le=366 * 86_400)
    time_zone: Annotated[str, AfterValidator(_time_zone)] = "UTC"
    jitter_seconds: float = Field(default=0, ge=0, le=86_400)

    @model_validator(mode="after")
    def _cron_or_interval(self) -> "ScheduleSpec":
        if (self.cron is None) == (self.every_seconds is None):
            raise ValueError("give either cron or every_seconds")
        if self.cron is not None and len(self.cron.split()) != 5:
            raise ValueError("cron has five fields: minute, hour, day, month, weekday")
        return self


class ScheduledWork(StrictModel):
    """The run that a schedule starts: a batch of scores, or a check of them."""

    kind: Literal["rescore", "check"] = "rescore"
    batch: BatchRequest = BatchRequest()
    check: CheckRequest = CheckRequest()


class NewSchedule(StrictModel):
    """A schedule to create."""

    id: ScheduleId
    spec: ScheduleSpec
    work: ScheduledWork = ScheduledWork()
    note: Note = ""
    paused: bool = False

    def run_spec(self, tenant_id: str) -> RunSpec:
        """Return the run that is started each time; Temporal appends the time to its id."""
        user_id = f"schedule {self.id}"
        if self.work.kind == "check":
            run = RunRef(tenant_id=tenant_id, run_id=run_id(Kind.CHECK, self.id))
            return checks.check_spec(run, user_id, self.work.check)
        run = RunRef(tenant_id=tenant_id, run_id=run_id(Kind.BATCH, self.id))
        return scheduled_spec(run, user_id, self.work.batch)


class PastRun(Contract):
    """A run that a schedule has started; `outcome` is None while it runs."""

    run_id: str
    scheduled_at: datetime
    started_at: datetime
    outcome: Outcome | None = None


class Schedule(Contract):
    """A schedule, as Temporal knows it."""

    id: str
    spec: ScheduleSpec
    work: ScheduledWork
    note: str
    paused: bool
    next_runs: list[datetime]
    last_runs: list[PastRun]
    running: list[str]
    skipped: int
    created_at: datetime | None

    def with_outcomes(self, outcomes: Mapping[str, Outcome | None]) -> "Schedule":
        """Return the schedule with the outcomes of its last runs."""
        runs = [
            run.model_copy(update={"outcome": outcomes.get(run.run_id)}) for run in self.last_runs
        ]
        return self.model_copy(update={"last_runs": runs})
