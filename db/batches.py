"""Batches: accepted, cut into chunks, scored page by page, counted exactly."""

import uuid
from typing import Any

from psycopg.types.json import Jsonb

from db import batch_pages, launches, ledger, scoring_plans, selections
from db.lead_filters import STANDING
from db.session import Connection, Database, many, one
from domain import names
from domain.auth import Principal
from domain.base import Contract
from domain.batches import (
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
    Selection,
)
from domain.errors import Conflict, NotFound
from domain.events import EventType, NewEvent
from domain.experiments import ScoringPlan
from domain.names import Kind
from domain.runs import Launch, Outcome, RunClosing, RunRef
from domain.scoring.work import BatchPage, PageDone

_CHUNKS_AT_ONCE = 50
_KEEP = """
INSERT INTO lead_batches (tenant_id, run_id, mode, plan, selection, parallel, note)
VALUES (%(tenant)s, %(run)s, %(mode)s, %(plan)s, %(selection)s, %(parallel)s, %(note)s)
ON CONFLICT DO NOTHING
"""
_READ = """
SELECT b.plan, b.selection, b.parallel, b.total, b.scored, b.failed, b.paused, r.finished_at,
    r.user_id
FROM lead_batches b JOIN runs r ON r.tenant_id = b.tenant_id AND r.id = b.run_id
WHERE b.tenant_id = %(tenant)s AND b.run_id = %(run)s
"""
_UNKNOWN = """
INSERT INTO lead_failures (tenant_id, run_id, lead_id, code, detail)
SELECT %(tenant)s, %(run)s, g.lead, 'lead_unknown', 'There is no such lead.'
FROM unnest(%(ids)s::text[]) AS g (lead)
WHERE NOT EXISTS (SELECT FROM leads l WHERE l.tenant_id = %(tenant)s AND l.id = g.lead)
ON CONFLICT DO NOTHING RETURNING lead_id
"""
_TOTAL = """
UPDATE lead_batches SET total = %(total)s, failed = %(failed)s, told = %(failed)s,
    told_at = clock_timestamp()
WHERE tenant_id = %(tenant)s AND run_id = %(run)s
"""
_PAUSE = """
UPDATE lead_batches SET paused = %(paused)s, told = scored + failed, told_at = clock_timestamp(),
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
    launch: Launch | None


class Batches:
    """The batches of tenants, as workers and the API change them. `chunk`: how many leads an
    activity scores, which is three events of history and ten milliseconds of everybody's time."""

    def __init__(self, database: Database, chunk: int = 1_000) -> None:
        self._database = database
        self._chunk = chunk

    async def accept(self, caller: Principal, order: BatchOrder, mark: str | None) -> Accepted:
        """Take a batch in; one without a lead ends at once. The same mark is the same batch.

        Raises as `scoring_plans.of_order`, and NotFound (`batch_unknown`) for the batch whose
        failed leads are to be tried again.
        """
        run_id = names.run_id(Kind.BATCH, mark or uuid.uuid4().hex[:16])
        run = RunRef(tenant_id=caller.tenant_id, run_id=run_id)
        async with self._database.transaction(run.tenant_id) as connection:
            plan = await scoring_plans.of_order(connection, run.tenant_id, order)
            await _check_source(connection, run.tenant_id, order.selection)
            launch = _launch(run, caller.user_id, order, plan)
            if not await launches.accept(connection, launch):
                return Accepted(run_id=run_id, empty=False, launch=None)
            await _keep(connection, run, order, plan)
            if await selections.has_any(connection, run.tenant_id, order.selection):
                return Accepted(run_id=run_id, empty=False, launch=launch)
            await connection.execute(_TOTAL, _values(run) | {"total": 0, "failed": 0})
            counts = {"scored": 0, "failed": 0}
            ending = RunClosing(run=run, outcome=Outcome.COMPLETED, result=counts)
            await launches.close(connection, ending)
        return Accepted(run_id=run_id, empty=True, launch=None)

    async def open(self, ref: BatchRef, attempt: int) -> BatchOpening:
        """Begin a batch: count its leads, once. A schedule's batch is taken in here.

        Raises as `accept`.
        """
        run, asked = ref.run, ref.asked
        async with self._database.transaction(run.tenant_id) as connection:
            if asked.order is not None:
                plan = await scoring_plans.of_order(connection, run.tenant_id, asked.order)
                launch = _launch(run, asked.user_id, asked.order, plan)
                if await launches.accept(connection, launch):
                    await _keep(connection, run, asked.order, plan)
            row = await one(connection, _READ, _values(run))
            if row is None:
                raise NotFound("This batch was deleted.", code="run_unknown")
            await launches.begin(connection, run, attempt, None, "")
            total = row["total"]
            if total is None:
                total = await _count(connection, run, row)
            plan = ScoringPlan.model_validate(row["plan"])
            asks = await _asks_models(connection, run.tenant_id, plan)
        finished = row["finished_at"] is not None or not total
        return batch_pages.opening(
            total, row["parallel"], self._chunk, asks=asks, finished=finished
        )

    async def chunks(self, ref: PlanRef) -> ChunkPlan:
        """The next chunks behind an id."""
        run = ref.run
        async with self._database.transaction(run.tenant_id) as connection:
            row = await one(connection, _READ, _values(run))
            assert row is not None
            condition, values = selections.selected(Selection.model_validate(row["selection"]))
            query = f"""
                SELECT max(id) AS upto, count(*) AS leads FROM (
                    SELECT l.id, (row_number() OVER (ORDER BY l.id) - 1) / %(chunk)s AS part
                    FROM leads l {STANDING}
                    WHERE l.tenant_id = %(tenant)s AND l.id > %(after)s AND {condition}
                    ORDER BY l.id LIMIT %(most)s) AS parts
                GROUP BY part ORDER BY part
            """
            values |= _values(run) | {"after": ref.after, "chunk": ref.chunk}
            values["most"] = ref.chunk * _CHUNKS_AT_ONCE
            parts = await many(connection, query, values)
        starts = [ref.after, *(part["upto"] for part in parts)]
        chunks = [
            Chunk(after=after, upto=part["upto"])
            for after, part in zip(starts, parts, strict=False)
        ]
        full = sum(part["leads"] for part in parts) == values["most"]
        return ChunkPlan(chunks=tuple(chunks), last=not full)

    async def turn_page(
        self, ref: ChunkRef, after: str, size: int, done: PageDone | None, *, again: bool
    ) -> BatchPage:
        """Keep what became of a page, count it, and read the next one, in one transaction.

        `again`: an earlier attempt may have scored some of these leads, who are left out.
        """
        async with self._database.transaction(ref.run.tenant_id) as connection:
            row = await one(connection, _READ, _values(ref.run))
            if row is None or row["finished_at"] is not None:
                raise Conflict("This batch has ended.", code="run_finished")
            plan = ScoringPlan.model_validate(row["plan"])
            kept = await batch_pages.keep(connection, ref.run, done) if done else (0, 0, 0)
            chosen = selections.selected(Selection.model_validate(row["selection"]))
            task = await batch_pages.read(
                connection, ref, after, size, plan, chosen, row["user_id"], again=again
            )
            paused = await batch_pages.count(connection, ref.run, *kept)
        return BatchPage(task=task, paused=paused, scored=kept[0], failed=kept[1])

    async def check(self, tenant_id: str, order: BatchOrder) -> None:
        """Raises as `accept` would for this order now."""
        async with self._database.transaction(tenant_id) as connection:
            await scoring_plans.of_order(connection, tenant_id, order)
            await _check_source(connection, tenant_id, order.selection)

    async def pause(self, pausing: Pausing) -> None:
        """Write down that a batch rests, or goes on; one that has ended does neither."""
        run, paused = pausing.run, pausing.paused
        kind = EventType.BATCH_PAUSED if paused else EventType.BATCH_RESUMED
        event = NewEvent(type=kind, data={"note": pausing.note})
        async with self._database.transaction(run.tenant_id) as connection:
            if await one(connection, _PAUSE, _values(run) | {"paused": paused}):
                await ledger.append(connection, run, 1, 0, [event], fenced=False)
                status = "waiting" if paused else "running"
                await connection.execute(_STATUS, _values(run) | {"status": status})

    async def close(self, closing: BatchClosing) -> BatchResult:
        """End a batch; one that completed with failures says so."""
        run, ending = closing.ending.run, closing.ending
        async with self._database.transaction(run.tenant_id) as connection:
            if closing.asked.order is not None:
                await _take_in(connection, run, closing.asked, closing.asked.order)
            ended = await launches.ended(connection, run)
            if ended is None:
                await batch_pages.tell(connection, run, closed=True)
            counts = (await batch_pages.shown(connection, run)).counts
            if ended is not None:
                return BatchResult(outcome=ended, scored=counts.scored, failed=counts.failed)
            if ending.outcome is Outcome.COMPLETED and counts.failed:
                update = {"outcome": Outcome.COMPLETED_WITH_ERRORS}
                ending = ending.model_copy(update=update)
            ending = ending.model_copy(
                update={"result": batch_pages.result(counts, ending.outcome)}
            )
            closed = await launches.close(connection, ending)
        return BatchResult(outcome=closed.outcome, scored=counts.scored, failed=counts.failed)


async def _count(connection: Connection, run: RunRef, row: dict[str, Any]) -> int:
    selection = Selection.model_validate(row["selection"])
    unknown = 0
    if selection.ids is not None:
        ids = {"ids": list(selection.ids)}
        unknown = len(await many(connection, _UNKNOWN, _values(run) | ids))
    total = unknown + await selections.count(connection, run.tenant_id, selection)
    await connection.execute(_TOTAL, _values(run) | {"total": total, "failed": unknown})
    data = {"total": total, "plan": row["plan"]}
    event = NewEvent(type=EventType.BATCH_STARTED, data=data)
    await ledger.append(connection, run, 1, 0, [event], fenced=False)
    return total


async def _asks_models(connection: Connection, tenant_id: str, plan: ScoringPlan) -> bool:
    row = await one(connection, _KINDS, {"tenant": tenant_id, "models": plan.models})
    return bool(row and row["asks"])


async def _check_source(connection: Connection, tenant_id: str, selection: Selection) -> None:
    selections.selected(selection)
    if selection.failed_of is None:
        return
    run = RunRef(tenant_id=tenant_id, run_id=selection.failed_of)
    if await one(connection, _READ, _values(run)) is None:
        raise NotFound("There is no such batch.", code="batch_unknown")


async def _take_in(
    connection: Connection, run: RunRef, asked: BatchInput, order: BatchOrder
) -> None:
    """A schedule's batch whose order could not be carried out is there all the same, as failed."""
    plan = ScoringPlan(default=order.model or "champion")
    if await launches.accept(connection, _launch(run, asked.user_id, order, plan)):
        await _keep(connection, run, order, plan)


async def _keep(connection: Connection, run: RunRef, order: BatchOrder, plan: ScoringPlan) -> None:
    values = _values(run) | {
        "mode": order.mode.value,
        "plan": Jsonb(plan.model_dump(mode="json")),
        "selection": Jsonb(order.selection.model_dump(mode="json", exclude_none=True)),
        "parallel": order.parallel,
        "note": order.note,
    }
    await connection.execute(_KEEP, values)


def _launch(run: RunRef, user_id: str, order: BatchOrder, plan: ScoringPlan) -> Launch:
    model = ", ".join(plan.models)
    asked = BatchInput(tenant_id=run.tenant_id, user_id=user_id)
    verb = "Compare" if plan.tests else "Score"
    return Launch(
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
