"""Batch pages: leads read and scores stored in order, each counted once, reported once a second."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from db import arrays, cursors
from db.leads.filters import Condition
from db.runs import events as event_log
from db.scoring import jobs, new_scores, selections
from db.session import Connection, many, one
from domain.base import Page
from domain.leads.errors import LeadUnknown
from domain.runs.errors import RunFinished
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import Outcome, RunRef
from domain.scoring.batches import Batch, BatchCounts, ChunkRef, Selection
from domain.scoring.errors import BatchUnknown
from domain.scoring.experiments import ScoringPlan
from domain.scoring.jobs import BatchProgress, NewFailure, ScoredPage, ScoringJob


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch as the database has it; without a `total` its leads are not counted yet."""

    plan: ScoringPlan
    selection: Selection
    user_id: str
    parallel: int | None
    total: int | None
    scored: int
    failed: int
    finished: bool
    cancelling: bool


_LOAD = """
-- Read a batch with the state of its run; locks nothing.
SELECT b.plan, b.selection, b.parallel, b.total, b.scored, b.failed, r.user_id,
    r.finished_at IS NOT NULL AS finished, r.cancelling
FROM batches b JOIN runs r ON r.tenant_id = b.tenant_id AND r.id = b.run_id
WHERE b.tenant_id = %(tenant)s AND b.run_id = %(run)s
"""


async def load(connection: Connection, run: RunRef) -> BatchRecord | None:
    """Return a batch; None if it was deleted."""
    row = await one(connection, _LOAD, run.key)
    if row is None:
        return None
    plan = ScoringPlan.model_validate(row.pop("plan"))
    selection = Selection.model_validate(row.pop("selection"))
    return BatchRecord(plan=plan, selection=selection, **row)


_WITHOUT_RESULT = """
AND NOT EXISTS (SELECT FROM scores c
    WHERE c.tenant_id = l.tenant_id AND c.run_id = %(run)s AND c.lead_id = l.id)
AND NOT EXISTS (SELECT FROM batch_failures x
    WHERE x.tenant_id = l.tenant_id AND x.run_id = %(run)s AND x.lead_id = l.id)
"""


async def read(
    connection: Connection, ref: ChunkRef, batch: BatchRecord, after: str, *, again: bool
) -> ScoringJob:
    """Read the next leads of a chunk behind an id; `again`: without those that have a result."""
    selected = selections.selected(batch.selection)
    condition = f"l.id > %(after)s AND l.id <= %(through)s AND {selected.sql}"
    values = selected.values | ref.run.key | {"after": after, "through": ref.chunk.through}
    page = Condition(condition + (_WITHOUT_RESULT if again else ""), values)
    tenant_id, plan, user = ref.run.tenant_id, batch.plan, batch.user_id
    return await jobs.read(connection, tenant_id, plan, user, page, ref.size)


async def store(connection: Connection, run: RunRef, page: ScoredPage) -> tuple[int, int]:
    """Store scores and failures; return how many leads were scored and failed for the first
    time."""
    scored = await new_scores.store(connection, run, page.job, page.scores) if page.scores else 0
    failed = await _store_failures(connection, run, page) if page.failures else 0
    return scored, failed


class _FailureRow(NamedTuple):
    lead_id: str
    code: str
    detail: str


_STORE_FAILURES = f"""
-- Store the failures of leads that this run has not scored; return those that are new.
INSERT INTO batch_failures (tenant_id, run_id, lead_id, code, detail)
SELECT %(tenant)s, %(run)s, f.lead_id, f.code, f.detail
FROM {arrays.unnest(_FailureRow, "f")}
WHERE NOT EXISTS (SELECT FROM scores c
    WHERE c.tenant_id = %(tenant)s AND c.run_id = %(run)s AND c.lead_id = f.lead_id)
ON CONFLICT DO NOTHING RETURNING lead_id
"""


async def _store_failures(connection: Connection, run: RunRef, page: ScoredPage) -> int:
    rows = [_failure_row(failure) for failure in page.failures]
    values = run.key | arrays.columns_of(_FailureRow, rows)
    return len(await many(connection, _STORE_FAILURES, values))


def _failure_row(failure: NewFailure) -> _FailureRow:
    return _FailureRow(failure.lead_id, failure.code, failure.detail.replace("\0", ""))


_STORE_UNKNOWN = """
-- Store a failure for each id that is no lead.
INSERT INTO batch_failures (tenant_id, run_id, lead_id, code, detail)
SELECT %(tenant)s, %(run)s, g.lead, %(code)s, %(detail)s
FROM unnest(%(ids)s::text[]) AS g (lead)
WHERE NOT EXISTS (SELECT FROM leads l WHERE l.tenant_id = %(tenant)s AND l.id = g.lead)
ON CONFLICT DO NOTHING RETURNING lead_id
"""


async def store_unknown(connection: Connection, run: RunRef, ids: list[str]) -> int:
    """Store a failure for each id that is no lead; return how many are new."""
    error = LeadUnknown()
    values = run.key | {"ids": ids, "code": error.code, "detail": error.detail}
    return len(await many(connection, _STORE_UNKNOWN, values))


_COUNT = """
-- Add to the counts of a batch that has not ended. Locks its row: nothing slow may follow in the
-- transaction.
UPDATE batches SET scored = scored + %(scored)s, failed = failed + %(failed)s
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND NOT closed
RETURNING scored, failed, paused, clock_timestamp() - reported_at > interval '1 second' AS due
"""


async def count(connection: Connection, run: RunRef, scored: int, failed: int) -> BatchProgress:
    """Add to a batch's counts, report them once a second, and return them.

    Raises RunFinished: then the page is not stored either.
    """
    row = await one(connection, _COUNT, run.key | {"scored": scored, "failed": failed})
    if row is None:
        raise RunFinished("This batch has ended.", run_id=run.run_id)
    if row["due"]:
        await report(connection, run)
    return BatchProgress(scored=row["scored"], failed=row["failed"], paused=row["paused"])


_STOP = """
-- Let no further page of a batch be counted. Locks its row.
UPDATE batches SET closed = true WHERE tenant_id = %(tenant)s AND run_id = %(run)s
"""


async def stop(connection: Connection, run: RunRef) -> bool:
    """Let no further page of a batch be counted; return false for a run that is no batch."""
    return (await connection.execute(_STOP, run.key)).rowcount > 0


_REPORT = """
-- Note what is being reported, with the rate since the last report. Locks the row of the batch.
UPDATE batches b SET reported = scored + failed,
    reported_at = clock_timestamp(),
    rate = (scored + failed - reported)
        / greatest(extract(epoch FROM clock_timestamp() - reported_at), 0.001)
WHERE tenant_id = %(tenant)s AND run_id = %(run)s
RETURNING total, scored, failed, rate, (SELECT cost_micros FROM runs r
    WHERE r.tenant_id = b.tenant_id AND r.id = b.run_id) AS cost_micros
"""


async def report(connection: Connection, run: RunRef) -> None:
    """Append the progress of a batch to its events."""
    row = await one(connection, _REPORT, run.key)
    if row is None:
        return
    event = NewEvent(type=EventType.BATCH_PROGRESSED, data=_counts(row).model_dump())
    await event_log.append(connection, run, 1, 0, [event], fenced=False)


def result(counts: BatchCounts, outcome: Outcome) -> dict[str, Any]:
    """Return the result in the last event of a batch. `skipped`: leads that were counted when it
    began, and that the selection no longer matched when their turn came."""
    skipped = counts.total - counts.scored - counts.failed
    numbers = {"total": counts.total, "scored": counts.scored, "failed": counts.failed}
    done = outcome in (Outcome.COMPLETED, Outcome.COMPLETED_WITH_ERRORS)
    return numbers | ({"skipped": skipped} if done and skipped > 0 else {})


async def get(connection: Connection, run: RunRef) -> Batch:
    """Return one batch as the API shows it. Raises BatchUnknown."""
    rows = await _select(connection, run.tenant_id, run.run_id, None, 1)
    if not rows:
        raise BatchUnknown(run_id=run.run_id)
    return _batch(rows[0])


async def find(
    connection: Connection, tenant_id: str, cursor: str | None, limit: int
) -> Page[Batch]:
    """Return a page of batches, the latest first. Raises CursorInvalid."""
    rows = await _select(connection, tenant_id, None, cursor, limit + 1)
    return cursors.page(rows, limit, _batch, key=lambda row: (row["created_at"], row["run_id"]))


_SELECT = """
-- Read batches with the state of their runs, the latest first: one of them, or a page.
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


async def _select(
    connection: Connection, tenant_id: str, run_id: str | None, cursor: str | None, limit: int
) -> list[dict[str, Any]]:
    time, after = cursors.decode_place(cursor)
    values = {"tenant": tenant_id, "run": run_id, "time": time, "after": after, "limit": limit}
    return await many(connection, _SELECT, values)


def _batch(row: dict[str, Any]) -> Batch:
    return Batch(**row, counts=_counts(row))


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
