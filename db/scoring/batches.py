"""Batches: accepted, divided into chunks, scored page by page, counted exactly."""

from psycopg.types.json import Jsonb

from db.runs import events as event_log
from db.runs import lifecycle
from db.runs.leases import Fence
from db.scoring import batch_pages, batch_plans, plans, selections
from db.scoring.batch_pages import BatchRecord
from db.session import Connection, Database, one
from domain import names
from domain.identity.principals import Principal
from domain.names import Kind
from domain.runs.errors import RunCancelled, RunUnknown
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import EndedRun, Outcome, RunEnd, RunRef, RunSpec
from domain.scoring.batches import (
    BatchPause,
    BatchRequest,
    BatchResult,
    BatchStart,
    Chunk,
    ChunkPlan,
    ChunkRef,
    PlanRef,
    batch_spec,
    divide,
)
from domain.scoring.experiments import ScoringPlan
from domain.scoring.jobs import BatchPage, BatchProgress, ScoredPage

_CHUNKS_AT_ONCE = 50


class Batches:
    """The batches of tenants, as workers and the API change them. `chunk`: how many leads an
    activity scores, which is three events of history and ten milliseconds of everybody's time."""

    def __init__(self, database: Database, chunk: int = 1_000) -> None:
        self._database = database
        self._chunk = chunk

    async def accept(
        self, caller: Principal, request: BatchRequest, key: str, digest: str
    ) -> RunSpec | None:
        """Accept a batch; return None for one without a lead, which has ended. The same key is the
        same batch.

        Raises KeyReused if the digest of its request was another, and as `batch_plans.resolve`.
        """
        run = RunRef(tenant_id=caller.tenant_id, run_id=names.run_id(Kind.BATCH, key))
        async with self._database.transaction(run.tenant_id) as connection:
            plan = await batch_plans.resolve(connection, run.tenant_id, request)
            spec = batch_spec(run, caller.user_id, request, plan.models)
            if not await lifecycle.accept(connection, spec.model_copy(update={"digest": digest})):
                known = await _load(connection, run)
                return None if known.total == 0 else spec
            await _store(connection, run, request, plan)
            if await selections.has_any(connection, run.tenant_id, request.selection):
                return spec
            await _set_total(connection, run, total=0, failed=0)
            counts = {"scored": 0, "failed": 0}
            end = RunEnd(run=run, outcome=Outcome.COMPLETED, result=counts)
            await lifecycle.end(connection, end)
        return None

    async def open(self, run: RunRef, attempt: int) -> BatchStart:
        """Begin a batch: count its leads, once. A schedule's batch is planned here.

        Raises RunUnknown, RunCancelled, Superseded, and as `batch_plans.resolve`.
        """
        async with self._database.transaction(run.tenant_id) as connection:
            batch = await batch_pages.load(connection, run) or await _plan(connection, run)
            total, failed = batch.total or 0, batch.failed
            if batch.cancelling and not batch.finished:
                raise RunCancelled(run_id=run.run_id)
            if batch.total is None and not batch.finished:
                model = ", ".join(batch.plan.models)
                await lifecycle.begin(connection, run, Fence(1, attempt), model=model)
                total, failed = await _count(connection, run, batch)
            calls_models = await plans.calls_models(connection, run.tenant_id, batch.plan.models)
        return BatchStart(
            total=total,
            scored=batch.scored,
            failed=failed,
            calls_models=calls_models,
            finished=batch.finished or not total,
            **divide(self._chunk, batch.parallel, calls_models=calls_models),
        )

    async def chunks(self, ref: PlanRef) -> ChunkPlan:
        """Plan the next chunks behind an id."""
        limit = ref.chunk * _CHUNKS_AT_ONCE
        async with self._database.transaction(ref.run.tenant_id) as connection:
            batch = await _load(connection, ref.run)
            rows = await selections.chunks(connection, ref, batch.selection, limit)
        starts = [ref.after, *(row["through"] for row in rows)]
        chunks = tuple(
            Chunk(after=after, through=row["through"])
            for after, row in zip(starts, rows, strict=False)
        )
        return ChunkPlan(chunks=chunks, last=sum(row["leads"] for row in rows) < limit)

    async def next_page(
        self, ref: ChunkRef, after: str, page: ScoredPage | None, *, again: bool
    ) -> BatchPage:
        """Store the results of a page, count them, and read the next one, in one transaction.

        `again`: an earlier attempt may have scored some of these leads, which are left out. Raises
        RunFinished.
        """
        async with self._database.transaction(ref.run.tenant_id) as connection:
            batch = await _load(connection, ref.run)
            counts = await batch_pages.store(connection, ref.run, page) if page else (0, 0)
            job = await batch_pages.read(connection, ref, batch, after, again=again)
            progress = await batch_pages.count(connection, ref.run, *counts)
        return BatchPage(job=job, batch=progress, cancelling=batch.cancelling)

    async def store_page(self, ref: ChunkRef, page: ScoredPage) -> BatchProgress:
        """Store the results of a page, and count them. Raises RunFinished."""
        async with self._database.transaction(ref.run.tenant_id) as connection:
            counts = await batch_pages.store(connection, ref.run, page)
            return await batch_pages.count(connection, ref.run, *counts)

    async def check(self, tenant_id: str, request: BatchRequest) -> None:
        """Raise what `accept` would raise for this request now."""
        async with self._database.transaction(tenant_id) as connection:
            await batch_plans.resolve(connection, tenant_id, request)

    async def pause(self, pause: BatchPause) -> None:
        """Record that a batch is paused or resumed; one that has ended is neither."""
        run, paused = pause.run, pause.paused
        kind = EventType.BATCH_PAUSED if paused else EventType.BATCH_RESUMED
        event = NewEvent(type=kind, data={"note": pause.note})
        async with self._database.transaction(run.tenant_id) as connection:
            if await _pause(connection, run, paused=paused):
                await event_log.append(connection, run, 1, 0, [event], fenced=False)
                await (lifecycle.wait if paused else lifecycle.resume)(connection, run)

    async def close(self, end: RunEnd) -> BatchResult:
        """End a batch; one that completed with failures says so."""
        async with self._database.transaction(end.run.tenant_id) as connection:
            ended = await end_batch(connection, end)
            batch = await batch_pages.load(connection, end.run)
        scored, failed = (batch.scored, batch.failed) if batch else (0, 0)
        return BatchResult(outcome=ended.outcome, scored=scored, failed=failed)


async def end_batch(connection: Connection, end: RunEnd) -> EndedRun:
    """End a batch: no page of it is counted any more, and its last event says how far it came. One
    that was never planned has no counts."""
    run = end.run
    if not await batch_pages.stop(connection, run):
        return await lifecycle.end(connection, end)
    row = await lifecycle.lock(connection, run)
    if row is not None and row["outcome"] is None:
        await batch_pages.report(connection, run)
    counts, outcome = (await batch_pages.get(connection, run)).counts, end.outcome
    if outcome is Outcome.COMPLETED and counts.failed:
        outcome = Outcome.COMPLETED_WITH_ERRORS
    result = batch_pages.result(counts, outcome)
    return await lifecycle.end(
        connection, end.model_copy(update={"outcome": outcome, "result": result})
    )


async def _load(connection: Connection, run: RunRef) -> BatchRecord:
    batch = await batch_pages.load(connection, run)
    if batch is None:
        raise RunUnknown("This batch was deleted.", run_id=run.run_id)
    return batch


async def _count(connection: Connection, run: RunRef, batch: BatchRecord) -> tuple[int, int]:
    """Count the leads of a batch, and those of its ids that are no lead."""
    unknown, selection = 0, batch.selection
    if selection.ids is not None:
        unknown = await batch_pages.store_unknown(connection, run, list(selection.ids))
    total = unknown + await selections.count(connection, run.tenant_id, selection)
    await _set_total(connection, run, total=total, failed=unknown)
    data = {"total": total, "plan": batch.plan.model_dump(mode="json")}
    event = NewEvent(type=EventType.BATCH_STARTED, data=data)
    await event_log.append(connection, run, 1, 0, [event], fenced=False)
    return total, unknown


_SET_TOTAL = """
-- Set how many leads a batch has, and how many of its ids are none. Locks its row.
UPDATE batches SET total = %(total)s, failed = %(failed)s, reported = %(failed)s,
    reported_at = clock_timestamp()
WHERE tenant_id = %(tenant)s AND run_id = %(run)s
"""


async def _set_total(connection: Connection, run: RunRef, *, total: int, failed: int) -> None:
    await connection.execute(_SET_TOTAL, run.key | {"total": total, "failed": failed})


_PAUSE = """
-- Pause or resume a batch that has not ended; return no row if it was so already. Locks its row.
UPDATE batches SET paused = %(paused)s, reported = scored + failed, reported_at = clock_timestamp(),
    rate = CASE WHEN %(paused)s THEN 0 ELSE rate END
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND paused <> %(paused)s
  AND NOT closed RETURNING 1
"""


async def _pause(connection: Connection, run: RunRef, *, paused: bool) -> bool:
    return await one(connection, _PAUSE, run.key | {"paused": paused}) is not None


async def _plan(connection: Connection, run: RunRef) -> BatchRecord:
    """Plan a batch that was accepted for a schedule. Raises as `batch_plans.resolve`."""
    spec = await lifecycle.spec_of(connection, run)
    if spec is None:
        raise RunUnknown("This batch was deleted.", run_id=run.run_id)
    request = BatchRequest.model_validate(spec.request)
    plan = await batch_plans.resolve(connection, run.tenant_id, request)
    await _store(connection, run, request, plan)
    return await _load(connection, run)


_STORE = """
-- Store what a batch was accepted with, once.
INSERT INTO batches (tenant_id, run_id, mode, plan, selection, parallel, note)
VALUES (%(tenant)s, %(run)s, %(mode)s, %(plan)s, %(selection)s, %(parallel)s, %(note)s)
ON CONFLICT DO NOTHING
"""


async def _store(
    connection: Connection, run: RunRef, request: BatchRequest, plan: ScoringPlan
) -> None:
    values = {
        "mode": request.mode.value,
        "plan": Jsonb(plan.model_dump(mode="json")),
        "selection": Jsonb(request.selection.model_dump(mode="json", exclude_none=True)),
        "parallel": request.parallel,
        "note": request.note,
    }
    await connection.execute(_STORE, run.key | values)
