"""Schedules: a tenant's recurring work as Temporal Schedules, which are their only record."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeVar

from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleState,
)
from temporalio.client import Schedule as TemporalSchedule
from temporalio.client import ScheduleSpec as TemporalSpec
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from adapters.runs.engine import WORKFLOWS, unavailable
from domain import names
from domain.errors import Conflict, Invalid, NotFound
from domain.identity.principals import Principal
from domain.names import Kind
from domain.schedules.schedules import NewSchedule, PastRun, Schedule
from domain.scoring.batches import BatchInput
from domain.scoring.checks import CheckInput

Answer = TypeVar("Answer")
_RPC = timedelta(seconds=5)
# After an outage what is older than this is not made up for.
_CATCH_UP = timedelta(hours=1)
_TASK = timedelta(seconds=5)
_MEMO = "perdure"
_MOST = 200


class TemporalSchedules:
    """The schedules of tenants. All methods raise Unavailable when Temporal does not answer, and
    NotFound (`schedule_unknown`)."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create(self, caller: Principal, new: NewSchedule) -> Schedule:
        """Create a schedule; raises Conflict (`schedule_exists`), Invalid (`schedule_invalid`)."""
        tenant = SearchAttributePair(names.TENANT_ID, caller.tenant_id)
        kept = new.model_dump(mode="json")
        try:
            await self._client.create_schedule(
                _id(caller, new.id),
                _schedule(caller, new),
                memo={_MEMO: kept},
                search_attributes=TypedSearchAttributes([tenant]),
                rpc_timeout=_RPC,
            )
        except ScheduleAlreadyRunningError:
            raise Conflict("There is a schedule of this id.", code="schedule_exists") from None
        except (RPCError, RuntimeError) as error:
            raise _problem(error) from None
        return await self.read(caller, new.id)

    async def find(self, caller: Principal) -> list[Schedule]:
        """The tenant's schedules by id. A new one may take a second to be listed."""
        prefix, found = _id(caller, ""), list[str]()
        query = f'{names.TENANT_ID.name} = "{caller.tenant_id}"'
        try:
            async for listed in await self._client.list_schedules(query, rpc_timeout=_RPC):
                if listed.id.startswith(prefix) and len(found) < _MOST:
                    found.append(listed.id.removeprefix(prefix))
        except (RPCError, RuntimeError) as error:
            raise _problem(error) from None
        schedules = await asyncio.gather(*(self._listed(caller, each) for each in sorted(found)))
        return [schedule for schedule in schedules if schedule is not None]

    async def read(self, caller: Principal, schedule_id: str) -> Schedule:
        """One schedule, with its next and its last runs."""
        return await self._with(caller, schedule_id, _read)

    async def pause(self, caller: Principal, schedule_id: str, note: str) -> Schedule:
        """Start nothing more, and say why."""
        text = note or f"Paused by {caller.user_id}."
        await self._with(caller, schedule_id, lambda h: h.pause(note=text, rpc_timeout=_RPC))
        return await self.read(caller, schedule_id)

    async def resume(self, caller: Principal, schedule_id: str) -> Schedule:
        """Go on from now."""
        note = f"Resumed by {caller.user_id}."
        await self._with(caller, schedule_id, lambda h: h.unpause(note=note, rpc_timeout=_RPC))
        return await self.read(caller, schedule_id)

    async def trigger(self, caller: Principal, schedule_id: str) -> Schedule:
        """Start a run now, unless one is under way."""
        skip = ScheduleOverlapPolicy.SKIP
        await self._with(caller, schedule_id, lambda h: h.trigger(overlap=skip, rpc_timeout=_RPC))
        return await self.read(caller, schedule_id)

    async def backfill(
        self, caller: Principal, schedule_id: str, first: datetime, last: datetime
    ) -> Schedule:
        """Start what would have been started between two moments, one run after the other."""
        # Temporal leaves the first moment out.
        start = first - timedelta(seconds=1)
        span = ScheduleBackfill(start, last, ScheduleOverlapPolicy.BUFFER_ALL)
        await self._with(caller, schedule_id, lambda h: h.backfill(span, rpc_timeout=_RPC))
        return await self.read(caller, schedule_id)

    async def delete(self, caller: Principal, schedule_id: str) -> None:
        """Delete a schedule; its runs stay."""
        await self._with(caller, schedule_id, lambda h: h.delete(rpc_timeout=_RPC))

    async def _listed(self, caller: Principal, schedule_id: str) -> Schedule | None:
        """What was deleted a moment ago may still be listed."""
        with suppress(NotFound):
            return await self.read(caller, schedule_id)
        return None

    async def _with(
        self,
        caller: Principal,
        schedule_id: str,
        call: Callable[[ScheduleHandle], Awaitable[Answer]],
    ) -> Answer:
        handle = self._client.get_schedule_handle(_id(caller, schedule_id))
        try:
            return await call(handle)
        except (RPCError, RuntimeError) as error:
            raise _problem(error) from None


def _id(caller: Principal, schedule_id: str) -> str:
    return names.schedule_id(caller.tenant_id, schedule_id)


def _schedule(caller: Principal, new: NewSchedule) -> TemporalSchedule:
    spec, every = new.spec, new.spec.every_seconds
    return TemporalSchedule(
        action=_action(caller, new),
        spec=TemporalSpec(
            cron_expressions=[spec.cron] if spec.cron else [],
            intervals=[ScheduleIntervalSpec(every=timedelta(seconds=every))] if every else [],
            jitter=timedelta(seconds=spec.jitter_seconds) if spec.jitter_seconds else None,
            time_zone_name=spec.time_zone,
        ),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP),
        state=ScheduleState(note=new.note, paused=new.paused),
    )


def _action(caller: Principal, new: NewSchedule) -> ScheduleActionStartWorkflow:
    """What is started: the run's id is the schedule's, with the time that Temporal appends."""
    tenant_id, user_id = caller.tenant_id, f"schedule {new.id}"
    asked: BatchInput | CheckInput
    if new.work.kind == "check":
        kind = Kind.CHECK
        asked = CheckInput(tenant_id=tenant_id, user_id=user_id, request=new.work.check)
    else:
        kind = Kind.BATCH
        asked = BatchInput(tenant_id=tenant_id, user_id=user_id, request=new.work.batch)
    workflow, queue = WORKFLOWS[kind]
    return ScheduleActionStartWorkflow(
        workflow.value,
        asked,
        id=names.workflow_id(tenant_id, names.run_id(kind, new.id)),
        task_queue=queue,
        task_timeout=_TASK,
        typed_search_attributes=names.tags(tenant_id, kind, new.id, ""),
        static_summary=f"{new.work.kind.capitalize()} by the schedule {new.id}",
        priority=names.lane(tenant_id, names.Lane.BATCH),
    )


async def _read(handle: ScheduleHandle) -> Schedule:
    described = await handle.describe(rpc_timeout=_RPC)
    kept = await described.memo_value(_MEMO, None)
    if kept is None:
        raise NotFound("This schedule was not made here.", code="schedule_unknown")
    new = NewSchedule.model_validate(kept)
    info = described.info
    running = [
        action.workflow_id
        for action in info.running_actions
        if isinstance(action, ScheduleActionExecutionStartWorkflow)
    ]
    return Schedule(
        id=new.id,
        spec=new.spec,
        work=new.work,
        note=described.schedule.state.note or "",
        paused=described.schedule.state.paused,
        next_runs=list(info.next_action_times[:5]),
        last_runs=_past(described),
        running=[names.run_of(workflow_id) for workflow_id in running],
        skipped=info.num_actions_skipped_overlap,
        created_at=info.created_at,
    )


def _past(described: ScheduleDescription) -> list[PastRun]:
    found = [
        PastRun(
            run_id=names.run_of(result.action.workflow_id),
            scheduled_at=result.scheduled_at,
            started_at=result.started_at,
        )
        for result in described.info.recent_actions
        if isinstance(result.action, ScheduleActionExecutionStartWorkflow)
    ]
    return found[::-1]


def _problem(error: RPCError | RuntimeError) -> Exception:
    if isinstance(error, RuntimeError):
        return unavailable(error)
    if error.status is RPCStatusCode.NOT_FOUND:
        return NotFound("There is no such schedule.", code="schedule_unknown")
    if error.status is RPCStatusCode.INVALID_ARGUMENT:
        detail = f"Temporal does not take this schedule: {error.message}"
        return Invalid(detail, code="schedule_invalid")
    return unavailable(error)
