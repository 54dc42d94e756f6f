"""Batches: accepted, cut into chunks, scored page by page, counted exactly."""

from typing import Any

from psycopg.types.json import Jsonb

from db.leads.filters import STANDING
from db.runs import events as event_log
from db.runs import lifecycle
from db.runs.leases import Fence
from db.scoring import batch_pages, batch_plans, selections
from db.scoring.batch_pages import KeptBatch
from db.session import Connection, Database, many, one
from domain import names
from domain.identity.principals import Principal
from domain.names import Kind
from domain.runs.errors import RunCancelled, RunUnknown
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import EndedRun, Outcome, RunEnd, RunRef, RunSpec
from domain.scoring.batches import (
    BatchOpening,
    BatchOrder,
    BatchResult,
    Chunk,
    ChunkPlan,
    ChunkRef,
    Pausing,
    PlanRef,
    cut,
    spec_of,
)
from domain.scoring.experiments import ScoringPlan
from domain.scoring.jobs import BatchPage, BatchProgress, PageDone

_CHUNKS_AT_ONCE = 50
_KEEP = """
INSERT INTO batches (tenant_id, run_id, mode, plan, selection, parallel, note)
VALUES (%(tenant)s, %(run)s, %(mode)s, %(plan)s, %(selection)s, %(parallel)s, %(note)s)
ON CONFLICT DO NOTHING
"""
_UNKNOWN = """
INSERT INTO batch_failures (tenant_id, run_id, lead_id, code, detail)
SELECT %(tenant)s, %(run)s, g.lead, 'lead_unknown', 'There is no such lead.'
FROM unnest(%(ids)s::text[]) AS g (lead)
WHERE NOT EXISTS (SELECT FROM leads l WHERE l.tenant_id = %(tenant)s AND l.id = g.lead)
ON CONFLICT DO NOTHING RETURNING lead_id
"""
_TOTAL = """
UPDATE batches SET total = %(total)s, failed = %(failed)s, reported = %(failed)s,
    reported_at = clock_timestamp()
WHERE tenant_id = %(tenant)s AND run_id = %(run)s
"""
_PAUSE = """
UPDATE batches SET paused = %(paused)s, reported = scored + failed, reported_at = clock_timestamp(),
    rate = CASE WHEN %(paused)s THEN 0 ELSE rate END
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND paused <> %(paused)s
  AND NOT closed RETURNING 1
"""
_KINDS = """
SELECT bool_or(kind = 'llm') AS asks FROM scoring_models
WHERE tenant_id = %(tenant)s AND name || '.' || version = ANY (%(models)s)
"""


class Batches:
    """The batches of tenants, as workers and the API change them. `chunk`: how many leads an
    activity scores, which is three events of history and ten milliseconds of everybody's time."""

    def __init__(self, database: Database, chunk: int = 1_000) -> None:
        self._database = database
        self._chunk = chunk

    async def accept(
        self, caller: Principal, order: BatchOrder, key: str, digest: str
    ) -> RunSpec | None:
        """Accept a batch; return None for one without a lead, which has ended. The same key is the
        same batch.

        Raises KeyReused if the digest of its request was another, and as `batch_plans.of`.
        """
        run = RunRef(tenant_id=caller.tenant_id, run_id=names.run_id(Kind.BATCH, key))
        async with self._database.transaction(run.tenant_id) as connection:
            plan = await batch_plans.of(connection, run.tenant_id, order)
            spec = spec_of(run, caller.user_id, order, plan.models)
            if not await lifecycle.accept(connection, spec.model_copy(update={"digest": digest})):
                known = _found(await batch_pages.kept(connection, run))
                return None if known.total == 0 else spec
            await _keep(connection, run, order, plan)
            if await selections.has_any(connection, run.tenant_id, order.selection):
                return spec
            await connection.execute(_TOTAL, _values(run) | {"total": 0, "failed": 0})
            counts = {"scored": 0, "failed": 0}
            await lifecycle.end(
                connection, RunEnd(run=run, outcome=Outcome.COMPLETED, result=counts)
            )
        return None

    async def open(self, run: RunRef, attempt: int) -> BatchOpening:
        """Begin a batch: count its leads, once. A schedule's batch is planned here.

        Raises RunUnknown, RunCancelled, Superseded, and as `batch_plans.of`.
        """
        async with self._database.transaction(run.tenant_id) as connection:
            batch = await batch_pages.kept(connection, run) or await _plan(connection, run)
            total, failed = batch.total or 0, batch.failed
            if batch.cancelling and not batch.finished:
                raise RunCancelled
            if batch.total is None and not batch.finished:
                model = ", ".join(batch.plan.models)
                await lifecycle.begin(connection, run, Fence(1, attempt), model=model)
                total, failed = await _count(connection, run, batch)
            asks = await _asks_models(connection, run.tenant_id, batch.plan)
        return BatchOpening(
            total=total,
            scored=batch.scored,
            failed=failed,
            asks=asks,
            finished=batch.finished or not total,
            **cut(self._chunk, batch.parallel, asks=asks),
        )

    async def chunks(self, ref: PlanRef) -> ChunkPlan:
        """The next chunks behind an id."""
        run = ref.run
        async with self._database.transaction(run.tenant_id) as connection:
            batch = _found(await batch_pages.kept(connection, run))
            chosen = selections.selected(batch.selection)
            query = f"""
                SELECT max(id) AS upto, count(*) AS leads FROM (
                    SELECT l.id, (row_number() OVER (ORDER BY l.id) - 1) / %(chunk)s AS part
                    FROM leads l {STANDING}
                    WHERE l.tenant_id = %(tenant)s AND l.id > %(after)s AND {chosen.sql}
                    ORDER BY l.id LIMIT %(most)s) AS parts
                GROUP BY part ORDER BY part
            """
            most = ref.chunk * _CHUNKS_AT_ONCE
            values = _values(run) | {"after": ref.after, "chunk": ref.chunk, "most": most}
            parts = await many(connection, query, chosen.values | values)
        starts = [ref.after, *(part["upto"] for part in parts)]
        chunks = [
            Chunk(after=after, upto=part["upto"])
            for after, part in zip(starts, parts, strict=False)
        ]
        full = sum(part["leads"] for part in parts) == most
        return ChunkPlan(chunks=tuple(chunks), last=not full)

    async def next_page(
        self, ref: ChunkRef, after: str, done: PageDone | None, *, again: bool
    ) -> BatchPage:
        """Keep what became of a page, count it, and read the next one, in one transaction.

        `again`: an earlier attempt may have scored some of these leads, who are left out. Raises
        RunFinished.
        """
        async with self._database.transaction(ref.run.tenant_id) as connection:
            batch = _found(await batch_pages.kept(connection, ref.run))
            kept = await batch_pages.keep(connection, ref.run, done) if done else (0, 0)
            task = await batch_pages.read(connection, ref, batch, after, again=again)
            progress = await batch_pages.count(connection, ref.run, *kept)
        return BatchPage(task=task, batch=progress, cancelling=batch.cancelling)

    async def keep_page(self, ref: ChunkRef, done: PageDone) -> BatchProgress:
        """Keep what became of a page, and count it; raises RunFinished."""
        async with self._database.transaction(ref.run.tenant_id) as connection:
            kept = await batch_pages.keep(connection, ref.run, done)
            return await batch_pages.count(connection, ref.run, *kept)

    async def check(self, tenant_id: str, order: BatchOrder) -> None:
        """Raises as `accept` would for this order now."""
        async with self._database.transaction(tenant_id) as connection:
            await batch_plans.of(connection, tenant_id, order)

    async def pause(self, pausing: Pausing) -> None:
        """Write down that a batch rests, or goes on; one that has ended does neither."""
        run, paused = pausing.run, pausing.paused
        kind = EventType.BATCH_PAUSED if paused else EventType.BATCH_RESUMED
        event = NewEvent(type=kind, data={"note": pausing.note})
        async with self._database.transaction(run.tenant_id) as connection:
            if await one(connection, _PAUSE, _values(run) | {"paused": paused}):
                await event_log.append(connection, run, 1, 0, [event], fenced=False)
                await (lifecycle.wait if paused else lifecycle.resume)(connection, run)

    async def close(self, end: RunEnd) -> BatchResult:
        """End a batch; one that completed with failures says so."""
        async with self._database.transaction(end.run.tenant_id) as connection:
            ended = await end_batch(connection, end)
            batch = await batch_pages.kept(connection, end.run)
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
        await batch_pages.tell(connection, run)
    counts, outcome = (await batch_pages.shown(connection, run)).counts, end.outcome
    if outcome is Outcome.COMPLETED and counts.failed:
        outcome = Outcome.COMPLETED_WITH_ERRORS
    result = batch_pages.result(counts, outcome)
    return await lifecycle.end(
        connection, end.model_copy(update={"outcome": outcome, "result": result})
    )


def _found(batch: KeptBatch | None) -> KeptBatch:
    if batch is None:
        raise RunUnknown("This batch was deleted.")
    return batch


async def _count(connection: Connection, run: RunRef, batch: KeptBatch) -> tuple[int, int]:
    """How many leads there are, and how many of the ids are none."""
    unknown, selection = 0, batch.selection
    if selection.ids is not None:
        ids = {"ids": list(selection.ids)}
        unknown = len(await many(connection, _UNKNOWN, _values(run) | ids))
    total = unknown + await selections.count(connection, run.tenant_id, selection)
    await connection.execute(_TOTAL, _values(run) | {"total": total, "failed": unknown})
    data = {"total": total, "plan": batch.plan.model_dump(mode="json")}
    event = NewEvent(type=EventType.BATCH_STARTED, data=data)
    await event_log.append(connection, run, 1, 0, [event], fenced=False)
    return total, unknown


async def _asks_models(connection: Connection, tenant_id: str, plan: ScoringPlan) -> bool:
    row = await one(connection, _KINDS, {"tenant": tenant_id, "models": plan.models})
    return bool(row and row["asks"])


async def _plan(connection: Connection, run: RunRef) -> KeptBatch:
    """Plan a batch that was accepted for a schedule; raises as `batch_plans.of`."""
    spec = await lifecycle.spec_of(connection, run)
    if spec is None:
        raise RunUnknown("This batch was deleted.")
    order = BatchOrder.model_validate(spec.request)
    await _keep(connection, run, order, await batch_plans.of(connection, run.tenant_id, order))
    return _found(await batch_pages.kept(connection, run))


async def _keep(connection: Connection, run: RunRef, order: BatchOrder, plan: ScoringPlan) -> None:
    values = _values(run) | {
        "mode": order.mode.value,
        "plan": Jsonb(plan.model_dump(mode="json")),
        "selection": Jsonb(order.selection.model_dump(mode="json", exclude_none=True)),
        "parallel": order.parallel,
        "note": order.note,
    }
    await connection.execute(_KEEP, values)


def _values(run: RunRef) -> dict[str, Any]:
    return {"tenant": run.tenant_id, "run": run.run_id}
