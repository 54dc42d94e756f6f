"""Batch pages: leads read and scores kept in order, each counted once, told once a second."""

from dataclasses import dataclass
from typing import Any

from db.leads.filters import Condition
from db.runs import events as event_log
from db.scoring import jobs, scores, selections
from db.session import Connection, many, one
from domain.errors import NotFound
from domain.runs.errors import RunFinished
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import Outcome, RunRef
from domain.scoring.batches import Batch, BatchCounts, ChunkRef, Selection
from domain.scoring.experiments import ScoringPlan
from domain.scoring.jobs import BatchProgress, PageDone, ScoringTask

_FAIL = """
INSERT INTO batch_failures (tenant_id, run_id, lead_id, code, detail)
SELECT %(tenant)s, %(run)s, f.lead, f.code, f.detail
FROM unnest(%(leads)s::text[], %(codes)s::text[], %(details)s::text[]) AS f (lead, code, detail)
WHERE NOT EXISTS (SELECT FROM scores c
    WHERE c.tenant_id = %(tenant)s AND c.run_id = %(run)s AND c.lead_id = f.lead)
ON CONFLICT DO NOTHING RETURNING lead_id
"""
_KEPT = """
SELECT b.plan, b.selection, b.parallel, b.total, b.scored, b.failed, r.user_id,
    r.finished_at IS NOT NULL AS finished, r.cancelling
FROM batches b JOIN runs r ON r.tenant_id = b.tenant_id AND r.id = b.run_id
WHERE b.tenant_id = %(tenant)s AND b.run_id = %(run)s
"""
_NOT_YET = """
AND NOT EXISTS (SELECT FROM scores c
    WHERE c.tenant_id = l.tenant_id AND c.run_id = %(run)s AND c.lead_id = l.id)
AND NOT EXISTS (SELECT FROM batch_failures x
    WHERE x.tenant_id = l.tenant_id AND x.run_id = %(run)s AND x.lead_id = l.id)
"""
_COUNT = """
UPDATE batches SET scored = scored + %(scored)s, failed = failed + %(failed)s
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND NOT closed
RETURNING scored, failed, paused, clock_timestamp() - reported_at > interval '1 second' AS due
"""
_STOP = """
UPDATE batches SET closed = true WHERE tenant_id = %(tenant)s AND run_id = %(run)s
"""
_TELL = """
UPDATE batches b SET reported = scored + failed,
    reported_at = clock_timestamp(),
    rate = (scored + failed - reported)
        / greatest(extract(epoch FROM clock_timestamp() - reported_at), 0.001)
WHERE tenant_id = %(tenant)s AND run_id = %(run)s
RETURNING total, scored, failed, rate, (SELECT cost_micros FROM runs r
    WHERE r.tenant_id = b.tenant_id AND r.id = b.run_id) AS cost_micros
"""
_SHOWN = """
SELECT b.run_id, b.mode, b.plan, b.selection, b.note, b.created_at, b.total, b.scored, b.failed,
    b.rate, r.cost_micros, r.outcome, r.user_id AS created_by, r.finished_at,
    CASE WHEN r.cancelling AND r.finished_at IS NULL THEN 'cancelling'
        WHEN b.paused AND r.finished_at IS NULL THEN 'paused' ELSE r.status END AS status
FROM batches b JOIN runs r ON r.tenant_id = b.tenant_id AND r.id = b.run_id
WHERE b.tenant_id = %(tenant)s AND (%(run)s::text IS NULL OR b.run_id = %(run)s)
  AND (%(time)s::timestamptz IS NULL
    OR (b.created_at, b.run_id) < (%(time)s::timestamptz, %(after)s))
ORDER BY b.created_at DESC, b.run_id DESC LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class KeptBatch:
    """A batch as the record has it; without a `total` its leads are not counted yet."""

    plan: ScoringPlan
    selection: Selection
    user_id: str
    parallel: int | None
    total: int | None
    scored: int
    failed: int
    finished: bool
    cancelling: bool


async def kept(connection: Connection, run: RunRef) -> KeptBatch | None:
    """A batch; None if it was deleted."""
    row = await one(connection, _KEPT, _values(run))
    if row is None:
        return None
    plan = ScoringPlan.model_validate(row.pop("plan"))
    selection = Selection.model_validate(row.pop("selection"))
    return KeptBatch(plan=plan, selection=selection, **row)


async def read(
    connection: Connection, ref: ChunkRef, batch: KeptBatch, after: str, *, again: bool
) -> ScoringTask:
    """The next leads of a chunk behind an id; `again`: without those that have a row already."""
    chosen = selections.selected(batch.selection)
    condition = f"l.id > %(after)s AND l.id <= %(upto)s AND {chosen.sql}"
    values = chosen.values | _values(ref.run) | {"after": after, "upto": ref.chunk.upto}
    page = Condition(condition + (_NOT_YET if again else ""), values)
    tenant_id, plan, user = ref.run.tenant_id, batch.plan, batch.user_id
    return await jobs.read(connection, tenant_id, plan, user, page, ref.size)


async def keep(connection: Connection, run: RunRef, done: PageDone) -> tuple[int, int]:
    """Keep scores and failures; how many leads were scored and failed for the first time."""
    scored = await scores.store(connection, run, done.task, done.scored) if done.scored else 0
    if not done.failed:
        return scored, 0
    values = _values(run) | {
        "leads": [failed.lead_id for failed in done.failed],
        "codes": [failed.code for failed in done.failed],
        "details": [failed.detail.replace("\0", "") for failed in done.failed],
    }
    return scored, len(await many(connection, _FAIL, values))


async def count(connection: Connection, run: RunRef, scored: int, failed: int) -> BatchProgress:
    """Add to a batch's counts, and tell its readers once a second; how far it is now.

    Raises RunFinished: then the page is not kept either.

    The row of the batch is locked from here on: nothing slow may follow in the transaction.
    """
    row = await one(connection, _COUNT, _values(run) | {"scored": scored, "failed": failed})
    if row is None:
        raise RunFinished("This batch has ended.")
    if row["due"]:
        await tell(connection, run)
    return BatchProgress(scored=row["scored"], failed=row["failed"], paused=row["paused"])


async def stop(connection: Connection, run: RunRef) -> bool:
    """Let no further page of a batch be counted; false for a run that is no batch."""
    return (await connection.execute(_STOP, _values(run))).rowcount > 0


async def tell(connection: Connection, run: RunRef) -> None:
    """Append how far a batch is to its events."""
    row = await one(connection, _TELL, _values(run))
    if row is None:
        return
    data = _counts(row).model_dump()
    event = NewEvent(type=EventType.BATCH_PROGRESSED, data=data)
    await event_log.append(connection, run, 1, 0, [event], fenced=False)


def result(counts: BatchCounts, outcome: Outcome) -> dict[str, Any]:
    """What the last event of a batch says of it. `skipped`: leads that were counted when it began,
    and that the selection no longer found when their turn came."""
    skipped = counts.total - counts.scored - counts.failed
    found = {"total": counts.total, "scored": counts.scored, "failed": counts.failed}
    done = outcome in (Outcome.COMPLETED, Outcome.COMPLETED_WITH_ERRORS)
    return found | ({"skipped": skipped} if done and skipped > 0 else {})


async def shown(connection: Connection, run: RunRef) -> Batch:
    """One batch as the API shows it; raises NotFound (`batch_unknown`)."""
    rows = await listed(connection, run.tenant_id, run.run_id, None, None, 1)
    if not rows:
        raise NotFound("There is no such batch.", code="batch_unknown")
    return rows[0]


async def listed(
    connection: Connection, tenant_id: str, run_id: str | None, time: Any, after: Any, limit: int
) -> list[Batch]:
    """Batches, the latest first."""
    values = {"tenant": tenant_id, "run": run_id, "time": time, "after": after, "limit": limit}
    rows = await many(connection, _SHOWN, values)
    return [Batch(**row, counts=_counts(row)) for row in rows]


def _counts(row: dict[str, Any]) -> BatchCounts:
    total, rate = row["total"] or 0, row["rate"]
    left = max(0, total - row["scored"] - row["failed"])
    return BatchCounts(
        total=total,
        scored=row["scored"],
        failed=row["failed"],
        rate=round(rate, 1),
        eta_seconds=round(left / rate, 1) if rate else None,
        cost_micros=row["cost_micros"],
    )


def _values(run: RunRef) -> dict[str, Any]:
    return {"tenant": run.tenant_id, "run": run.run_id}
