"""Batches: accepted, cut into chunks, scored page by page, counted exactly."""

from typing import Any

from psycopg.types.json import Jsonb

from db.leads.filters import STANDING
from db.runs import events as event_log
from db.runs import lifecycle
from db.scoring import batch_pages, batch_plans, selections
from db.scoring.batch_pages import KeptBatch
from db.session import Connection, Database, many, one
from domain import names
from domain.base import Contract
from domain.errors import Conflict, NotFound
from domain.identity.principals import Principal
from domain.names import Kind
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import Outcome, RunEnd, RunRef, RunSpec
from domain.scoring.batches import (
    BatchClosing,
    BatchInput,
    BatchOpening,
    BatchOrder,
    BatchRef,
    BatchResult,
    Chunk,
    ChunkPlan,
    ChunkRef,
    Pausing,
    PlanRef,
    cut,
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
_STATUS = """
UPDATE runs SET status = %(status)s WHERE tenant_id = %(tenant)s AND id = %(run)s
AND finished_at IS NULL
"""
_KINDS = """
SELECT bool_or(kind = 'llm') AS asks FROM scoring_models
WHERE tenant_id = %(tenant)s AND name || '.' || version = ANY (%(models)s)
"""


class Accepted(Contract):
    """A batch that was taken in; `launch` is None if there is nothing to start: it was accepted
    before and has begun, or it is empty and has ended."""

    run_id: str
    empty: bool
    launch: RunSpec | None


class Batches:
    """The batches of tenants, as workers and the API change them. `chunk`: how many leads an
    activity scores, which is three events of history and ten milliseconds of everybody's time."""

    def __init__(self, database: Database, chunk: int = 1_000) -> None:
        self._database = database
        self._chunk = chunk

    async def accept(self, caller: Principal, order: BatchOrder, key: str, digest: str) -> Accepted:
        """Take a batch in; one without a lead ends at once. The same key is the same batch.

        Raises Invalid (`key_reused`) if the digest of its order was another, and as
        `batch_plans.of`.
        """
        run_id = names.run_id(Kind.BATCH, key)
        run = RunRef(tenant_id=caller.tenant_id, run_id=run_id)
        async with self._database.transaction(run.tenant_id) as connection:
            plan = await batch_plans.of(connection, run.tenant_id, order)
            launch = await _take_in(connection, run, caller.user_id, order, plan, digest)
            if launch is None:
                return Accepted(run_id=run_id, empty=False, launch=None)
            if await selections.has_any(connection, run.tenant_id, order.selection):
                return Accepted(run_id=run_id, empty=False, launch=launch)
            await connection.execute(_TOTAL, _values(run) | {"total": 0, "failed": 0})
            counts = {"scored": 0, "failed": 0}
            ending = RunEnd(run=run, outcome=Outcome.COMPLETED, result=counts)
            await lifecycle.close(connection, ending)
        return Accepted(run_id=run_id, empty=True, launch=None)

    async def open(self, ref: BatchRef, attempt: int) -> BatchOpening:
        """Begin a batch: count its leads, once. A schedule's batch is taken in here.

        Raises as `accept`, and Conflict (`run_cancelled`).
        """
        run, asked = ref.run, ref.asked
        async with self._database.transaction(run.tenant_id) as connection:
            if asked.order is not None:
                plan = await batch_plans.of(connection, run.tenant_id, asked.order)
                await _take_in(connection, run, asked.user_id, asked.order, plan)
            batch = _found(await batch_pages.kept(connection, run))
            if batch.cancelling and not batch.finished:
                raise Conflict("The run is being cancelled.", code="run_cancelled")
            await lifecycle.begin(connection, run, attempt)
            total, failed = batch.total, batch.failed
            if total is None:
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
        Conflict (`run_finished`).
        """
        async with self._database.transaction(ref.run.tenant_id) as connection:
            batch = _found(await batch_pages.kept(connection, ref.run))
            kept = await batch_pages.keep(connection, ref.run, done) if done else (0, 0)
            task = await batch_pages.read(connection, ref, batch, after, again=again)
            progress = await batch_pages.count(connection, ref.run, *kept)
        return BatchPage(task=task, batch=progress, cancelling=batch.cancelling)

    async def keep_page(self, ref: ChunkRef, done: PageDone) -> BatchProgress:
        """Keep what became of a page, and count it; raises Conflict (`run_finished`)."""
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
                status = "waiting" if paused else "running"
                await connection.execute(_STATUS, _values(run) | {"status": status})

    async def close(self, closing: BatchClosing) -> BatchResult:
        """End a batch; one that completed with failures says so."""
        run, ending = closing.ending.run, closing.ending
        async with self._database.transaction(run.tenant_id) as connection:
            if closing.asked.order is not None:
                await _take_in_unplanned(
                    connection, run, closing.asked.user_id, closing.asked.order
                )
            await batch_pages.stop(connection, run)
            ended = await lifecycle.ended(connection, run)
            if ended is None:
                await batch_pages.tell(connection, run)
            counts = (await batch_pages.shown(connection, run)).counts
            if ended is not None:
                return BatchResult(outcome=ended, scored=counts.scored, failed=counts.failed)
            if ending.outcome is Outcome.COMPLETED and counts.failed:
                update = {"outcome": Outcome.COMPLETED_WITH_ERRORS}
                ending = ending.model_copy(update=update)
            ending = ending.model_copy(
                update={"result": batch_pages.result(counts, ending.outcome)}
            )
            closed = await lifecycle.close(connection, ending)
        return BatchResult(outcome=closed.outcome, scored=counts.scored, failed=counts.failed)


def _found(batch: KeptBatch | None) -> KeptBatch:
    if batch is None:
        raise NotFound("This batch was deleted.", code="run_unknown")
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


async def _take_in_unplanned(
    connection: Connection, run: RunRef, user_id: str, order: BatchOrder
) -> None:
    """A schedule's batch whose order could not be carried out is there all the same, as failed."""
    await _take_in(connection, run, user_id, order, ScoringPlan(default=order.model or "champion"))


async def _take_in(
    connection: Connection,
    run: RunRef,
    user_id: str,
    order: BatchOrder,
    plan: ScoringPlan,
    digest: str = "",
) -> RunSpec | None:
    """Write a batch down; None if it was before."""
    launch = _launch(run, user_id, order, plan).model_copy(update={"digest": digest})
    if not await lifecycle.accept(connection, launch):
        return None
    values = _values(run) | {
        "mode": order.mode.value,
        "plan": Jsonb(plan.model_dump(mode="json")),
        "selection": Jsonb(order.selection.model_dump(mode="json", exclude_none=True)),
        "parallel": order.parallel,
        "note": order.note,
    }
    await connection.execute(_KEEP, values)
    return launch


def _launch(run: RunRef, user_id: str, order: BatchOrder, plan: ScoringPlan) -> RunSpec:
    model = ", ".join(plan.models)
    asked = BatchInput(tenant_id=run.tenant_id, user_id=user_id)
    verb = "Compare" if plan.tests else "Score"
    return RunSpec(
        run=run,
        kind=Kind.BATCH,
        subject_id="leads",
        user_id=user_id,
        model=model,
        summary=f"{verb} leads with {model:.200} for {user_id:.60}"
        + (f": {order.note:.100}" if order.note else ""),
        input=asked.model_dump(mode="json"),
        urgent=False,
    )


def _values(run: RunRef) -> dict[str, Any]:
    return {"tenant": run.tenant_id, "run": run.run_id}
