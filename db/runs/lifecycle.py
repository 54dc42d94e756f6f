"""Launches: runs of every kind but turns, accepted in one transaction, started, and closed."""

from typing import Any

from psycopg.types.json import Jsonb

from db.runs import events as event_log
from db.session import Connection, one
from domain.errors import Conflict, Invalid, NotFound, Superseded
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import Closed, Outcome, RunEnd, RunRef, RunSpec

_ACCEPT = f"""
WITH run AS (
    INSERT INTO runs (tenant_id, id, kind, subject_id, user_id, status, model, step, attempt,
        last_seq, input_tokens, output_tokens, cost_micros)
    VALUES (%(tenant)s, %(run)s, %(kind)s, %(subject)s, %(user)s, 'queued', %(model)s,
        0, 0, 1, 0, 0, 0)
    ON CONFLICT DO NOTHING RETURNING id
), event AS (
    INSERT INTO run_events (tenant_id, run_id, seq, step, attempt, type, data)
    SELECT %(tenant)s, id, 1, 0, 0, 'run.accepted', %(event)s::jsonb FROM run
), launch AS (
    INSERT INTO run_specs (tenant_id, run_id, launch)
    SELECT %(tenant)s, id, %(launch)s FROM run
)
SELECT pg_notify('{event_log.CHANNEL}', %(tenant)s || '/' || id) FROM run
"""
_DIGEST = """
SELECT launch->>'digest' AS digest FROM run_specs
WHERE tenant_id = %(tenant)s AND run_id = %(run)s
"""
_LOCK = """
SELECT finished_at, outcome, step, attempt, input_tokens, output_tokens, cost_micros
FROM runs WHERE tenant_id = %(tenant)s AND id = %(run)s FOR UPDATE
"""
_FINISH = """
UPDATE runs SET status = 'finished', outcome = %(outcome)s, error_code = %(error_code)s,
    error_detail = %(error_detail)s, finished_at = now(), worker = NULL
WHERE tenant_id = %(tenant)s AND id = %(run)s
"""
_STATE = "SELECT outcome, cancelling FROM runs WHERE tenant_id = %(tenant)s AND id = %(run)s"
# Attempts are numbered by Temporal: an attempt that starts late can never push a newer one out.
_BEGIN = """
UPDATE runs SET step = 1, attempt = %(attempt)s, status = 'running', active_at = now(),
    worker = %(worker)s, activity_id = %(activity)s
WHERE tenant_id = %(tenant)s AND id = %(run)s AND finished_at IS NULL AND NOT cancelling
  AND (step, attempt) <= (1, %(attempt)s)
RETURNING user_id, attempt
"""


async def accept(connection: Connection, launch: RunSpec) -> bool:
    """Take a run in, within a transaction; false if it was accepted before. Raises Invalid
    (`key_reused`) if that was another order."""
    event = {"kind": launch.kind, "subject_id": launch.subject_id, "model": launch.model}
    values = _values(launch.run) | {
        "kind": launch.kind.value,
        "subject": launch.subject_id,
        "user": launch.user_id,
        "model": launch.model,
        "event": event_log.encode(event),
        "launch": Jsonb(launch.model_dump(mode="json")),
    }
    if await one(connection, _ACCEPT, values) is not None:
        return True
    row = await one(connection, _DIGEST, _values(launch.run))
    if row and launch.digest and row["digest"] and row["digest"] != launch.digest:
        raise Invalid("This Idempotency-Key was used for another order.", code="key_reused")
    return False


async def begin(
    connection: Connection,
    run: RunRef,
    attempt: int,
    worker: int | None = None,
    activity_id: str = "",
) -> str | None:
    """Take a run for this attempt; its user, or None if it has ended or a newer attempt has it."""
    mine = {"attempt": attempt, "worker": worker, "activity": activity_id}
    row = await one(connection, _BEGIN, _values(run) | mine)
    return str(row["user_id"]) if row else None


async def refusal(connection: Connection, run: RunRef) -> Outcome:
    """Why `begin` gave nothing: the outcome of a run that has ended. Raises NotFound
    (`run_unknown`), Conflict (`run_cancelled`), Superseded."""
    row = await one(connection, _STATE, _values(run))
    if row is None:
        raise NotFound("This run was deleted.", code="run_unknown")
    if row["outcome"] is not None:
        return Outcome(row["outcome"])
    if row["cancelling"]:
        raise Conflict("The run is being cancelled.", code="run_cancelled")
    raise Superseded("A newer attempt has taken over this run.")


async def ended(connection: Connection, run: RunRef) -> Outcome | None:
    """How a run has ended, if it has; until the transaction does, it cannot end meanwhile."""
    row = await one(connection, _LOCK, _values(run))
    return Outcome(row["outcome"]) if row and row["outcome"] else None


async def close(connection: Connection, closing: RunEnd) -> Closed:
    """End a run within a transaction, with its last event."""
    run = await one(connection, _LOCK, _values(closing.run))
    if run is None:
        return Closed(outcome=closing.outcome)
    if run["finished_at"] is not None:
        return Closed(outcome=Outcome(run["outcome"]))
    last = NewEvent(type=EventType.RUN_FINISHED, data=_last(closing, run))
    step, attempt = run["step"], run["attempt"]
    await event_log.append(connection, closing.run, step, attempt, [last], fenced=False)
    ending = closing.model_dump(include={"outcome", "error_code", "error_detail"})
    await connection.execute(_FINISH, _values(closing.run) | ending)
    return Closed(outcome=closing.outcome)


def _last(closing: RunEnd, run: dict[str, Any]) -> dict[str, Any]:
    error = None
    if closing.error_code is not None:
        error = {"code": closing.error_code, "detail": closing.error_detail}
    usage = {name: run[name] for name in ("input_tokens", "output_tokens")}
    return {
        "outcome": closing.outcome,
        "text": "",
        "error": error,
        "steps": run["step"],
        "usage": usage,
        "cost_micros": run["cost_micros"],
        "result": closing.result,
    }


def _values(run: RunRef) -> dict[str, Any]:
    return {"tenant": run.tenant_id, "run": run.run_id}
