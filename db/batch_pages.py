"""Batch pages: leads read and scores kept in order, each counted once, told once a second."""

from datetime import UTC, datetime
from typing import Any

from db import ledger, scores, subjects
from db.lead_filters import STANDING, conditions
from db.scoring_models import settings_of
from db.session import Connection, many, one
from domain.batches import Batch, BatchCounts, BatchOpening, ChunkRef
from domain.errors import Conflict, NotFound
from domain.events import EventType, NewEvent
from domain.experiments import ScoringPlan, assignments
from domain.runs import Outcome, RunRef
from domain.scoring.work import LeadTask, PageDone, ScoringTask

_CHUNKS, _PAGE = 2, 200
_CALLS, _PAGES_OF_CALLS = 8, 5
_FAIL = """
INSERT INTO lead_failures (tenant_id, run_id, lead_id, code, detail)
SELECT %(tenant)s, %(run)s, f.lead, f.code, f.detail
FROM unnest(%(leads)s::text[], %(codes)s::text[], %(details)s::text[]) AS f (lead, code, detail)
WHERE NOT EXISTS (SELECT FROM lead_scores c
    WHERE c.tenant_id = %(tenant)s AND c.run_id = %(run)s AND c.lead_id = f.lead)
ON CONFLICT DO NOTHING RETURNING lead_id
"""
_COUNT = """
UPDATE lead_batches SET scored = scored + %(scored)s, failed = failed + %(failed)s,
    cost_micros = cost_micros + %(cost)s
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND NOT closed
RETURNING paused, clock_timestamp() - told_at > interval '1 second' AS due
"""
_TELL = """
UPDATE lead_batches b SET closed = %(closed)s, told = scored + failed,
    told_at = clock_timestamp(),
    rate = (scored + failed - told)
        / greatest(extract(epoch FROM clock_timestamp() - told_at), 0.001)
WHERE tenant_id = %(tenant)s AND run_id = %(run)s
RETURNING total, scored, failed, rate, cost_micros
"""
_SHOWN = """
SELECT b.run_id, b.mode, b.plan, b.selection, b.note, b.created_at, b.total, b.scored, b.failed,
    b.rate, b.cost_micros, r.outcome, r.user_id AS created_by, r.finished_at,
    CASE WHEN r.cancelling AND r.finished_at IS NULL THEN 'cancelling'
        WHEN b.paused AND r.finished_at IS NULL THEN 'paused' ELSE r.status END AS status
FROM lead_batches b JOIN runs r ON r.tenant_id = b.tenant_id AND r.id = b.run_id
WHERE b.tenant_id = %(tenant)s AND (%(run)s::text IS NULL OR b.run_id = %(run)s)
  AND (%(time)s::timestamptz IS NULL
    OR (b.created_at, b.run_id) < (%(time)s::timestamptz, %(after)s))
ORDER BY b.created_at DESC, b.run_id DESC LIMIT %(limit)s
"""


def opening(
    total: int, parallel: int | None, chunk: int, *, asks: bool, finished: bool
) -> BatchOpening:
    """How a batch is cut. Where models are asked, `parallel` is how many leads wait for an answer
    at once, all in one activity: what is kept after them is what they cost."""
    if asks:
        page = parallel or _CALLS
        cut = {"parallel": 1, "chunk": min(chunk, page * _PAGES_OF_CALLS), "page": page}
    else:
        cut = {"parallel": parallel or _CHUNKS, "chunk": chunk, "page": _PAGE}
    return BatchOpening(total=total, asks=asks, finished=finished, **cut)


async def read(
    connection: Connection,
    ref: ChunkRef,
    after: str,
    size: int,
    plan: ScoringPlan,
    selection: tuple[str, dict[str, Any]],
    user_id: str,
    *,
    again: bool,
) -> ScoringTask:
    """The next leads of a chunk behind an id, as they are now."""
    run = ref.run
    settings = await settings_of(connection, run.tenant_id)
    chosen, values = selection
    condition, more = conditions(plan.filter)
    values = values | {f"in_{name}": value for name, value in more.items()}
    # A comparison looks back: it must not see what a lead did once the outcome was known.
    past = ("coalesce(l.outcome_at, statement_timestamp())", "<") if plan.tests else ()
    query = f"""
        SELECT {subjects.columns(*past)}, statement_timestamp() AS as_of,
            coalesce({condition.replace("%(", "%(in_")}, false) AS in_filter
        FROM leads l {STANDING}
        WHERE l.tenant_id = %(tenant)s AND l.id > %(after)s AND l.id <= %(upto)s AND {chosen}
          AND (NOT %(again)s OR NOT EXISTS (SELECT FROM lead_scores c
            WHERE c.tenant_id = l.tenant_id AND c.run_id = %(run)s AND c.lead_id = l.id))
          AND (NOT %(again)s OR NOT EXISTS (SELECT FROM lead_failures x
            WHERE x.tenant_id = l.tenant_id AND x.run_id = %(run)s AND x.lead_id = l.id))
        ORDER BY l.id LIMIT %(size)s
    """
    values |= {"tenant": run.tenant_id, "run": run.run_id, "after": after}
    values |= {"upto": ref.chunk.upto, "size": size, "again": again}
    rows = await many(connection, query, values)
    leads = []
    for found in map(subjects.read, rows):
        lead_id = found.subject.lead_id
        given = assignments(plan, run.tenant_id, lead_id, in_filter=found.in_filter)
        leads.append(LeadTask(found.subject, found.digest, given))
    return ScoringTask(
        leads=leads,
        user_id=user_id,
        as_of=rows[0]["as_of"] if rows else datetime.now(UTC),
        valid_hours=settings.valid_hours,
        experiment_id=plan.experiment_id,
    )


async def keep(connection: Connection, run: RunRef, done: PageDone) -> tuple[int, int, int]:
    """Keep scores and failures; how many leads were scored and failed for the first time, and
    what the scores cost."""
    scored, cost = 0, 0
    if done.scored:
        scored, cost = await scores.store(connection, run, done.task, done.scored)
    if not done.failed:
        return scored, 0, cost
    values = {
        "tenant": run.tenant_id,
        "run": run.run_id,
        "leads": [failed.lead_id for failed in done.failed],
        "codes": [failed.code for failed in done.failed],
        "details": [failed.detail for failed in done.failed],
    }
    return scored, len(await many(connection, _FAIL, values)), cost


async def count(connection: Connection, run: RunRef, scored: int, failed: int, cost: int) -> bool:
    """Add to a batch's counts, and tell its readers once a second; whether it is paused.

    Raises Conflict (`run_finished`): then the page is not kept either.

    The row of the batch is locked from here on: nothing slow may follow in the transaction.
    """
    values = {"tenant": run.tenant_id, "run": run.run_id}
    counts = {"scored": scored, "failed": failed, "cost": cost}
    row = await one(connection, _COUNT, values | counts)
    if row is None:
        raise Conflict("This batch has ended.", code="run_finished")
    if row["due"]:
        await tell(connection, run)
    return bool(row["paused"])


async def tell(connection: Connection, run: RunRef, *, closed: bool = False) -> None:
    """Append how far a batch is to its events; once it is `closed`, no page is counted any more."""
    values = {"tenant": run.tenant_id, "run": run.run_id, "closed": closed}
    row = await one(connection, _TELL, values)
    if row is None:
        return
    data = _counts(row).model_dump()
    event = NewEvent(type=EventType.BATCH_PROGRESSED, data=data)
    await ledger.append(connection, run, 1, 0, [event], fenced=False)


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
