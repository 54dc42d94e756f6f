"""Acceptance: the one transaction in which a message becomes a turn with a place in its thread."""

from typing import Any

from db.runs import events as event_log
from db.session import Connection, one
from domain import names
from domain.chat.threads import NewMessage, Policy
from domain.chat.turns import Accepted, TurnPlan
from domain.errors import Conflict, NotFound
from domain.runs.runs import RunRef

# The lock is a statement of its own: what the next one reads was committed before it was got.
_LOCK_THREAD = """
SELECT user_id, floor_run_id, last_position FROM threads
WHERE tenant_id = %(tenant)s AND id = %(thread)s AND (%(all)s OR user_id = %(user)s)
FOR UPDATE
"""
_KNOWN = """
SELECT m.run_id, m.text, r.step = 0 AND r.finished_at IS NULL AS not_begun
FROM messages m JOIN runs r ON r.tenant_id = m.tenant_id AND r.id = m.run_id
WHERE m.tenant_id = %(tenant)s AND m.thread_id = %(thread)s AND m.id = %(message)s
"""
_ACCEPT = f"""
WITH run AS (
    INSERT INTO runs (tenant_id, id, kind, subject_id, user_id, status, model, step, attempt,
        last_seq, input_tokens, output_tokens, cost_micros)
    VALUES (%(tenant)s, %(run)s, 'turn', %(thread)s, %(user)s, %(status)s, %(model)s,
        0, 0, 1, 0, 0, 0)
), turn AS (
    INSERT INTO turns (tenant_id, run_id, thread_id, message_id, position, interrupts)
    VALUES (%(tenant)s, %(run)s, %(thread)s, %(message)s, %(position)s, %(interrupts)s)
), message AS (
    INSERT INTO messages (tenant_id, thread_id, id, run_id, position, step, part, role, text,
        partial)
    VALUES (%(tenant)s, %(thread)s, %(message)s, %(run)s, %(position)s, 0, 0, 'user', %(text)s,
        false)
), event AS (
    INSERT INTO run_events (tenant_id, run_id, seq, step, attempt, type, data)
    VALUES (%(tenant)s, %(run)s, 1, 0, 0, 'run.accepted', %(event)s::jsonb)
)
UPDATE threads SET last_position = %(position)s, updated_at = now(),
    floor_run_id = coalesce(floor_run_id, %(run)s),
    title = CASE WHEN title = '' THEN %(title)s ELSE title END
WHERE tenant_id = %(tenant)s AND id = %(thread)s
RETURNING pg_notify('{event_log.CHANNEL}', %(tenant)s || '/' || %(run)s)
"""
_STEER = """
INSERT INTO messages (tenant_id, thread_id, id, run_id, position, step, part, role, text, partial)
SELECT tenant_id, thread_id, %(message)s, run_id, position, NULL, 0, 'user', %(text)s, false
FROM turns WHERE tenant_id = %(tenant)s AND run_id = %(floor)s
"""
_PLAN = """
SELECT r.user_id, r.model, r.finished_at IS NOT NULL AS finished, t.thread_id, t.interrupts,
    h.floor_run_id = r.id AS has_floor
FROM runs r JOIN turns t ON t.tenant_id = r.tenant_id AND t.run_id = r.id
JOIN threads h ON h.tenant_id = t.tenant_id AND h.id = t.thread_id
WHERE r.tenant_id = %(tenant)s AND r.id = %(run)s
"""


async def accept(connection: Connection, message: NewMessage) -> Accepted:
    """Take a message in; raises NotFound and Conflict as `Turns.accept` does."""
    values = _message_values(message)
    thread = await one(connection, _LOCK_THREAD, values)
    if thread is None:
        raise NotFound("There is no such thread.", code="thread_unknown")
    if known := await one(connection, _KNOWN, values):
        return await _known(connection, known, message)
    return await _take_in(connection, thread, message)


async def _take_in(connection: Connection, thread: dict[str, Any], message: NewMessage) -> Accepted:
    floor = thread["floor_run_id"]
    if floor is not None and message.policy is Policy.REJECT:
        raise Conflict("Another turn is running in this thread.", code="floor_taken", run_id=floor)
    values = _message_values(message) | {"floor": floor}
    if floor is not None and message.policy is Policy.STEER:
        await connection.execute(_STEER, values)
        return Accepted(run_id=floor)
    run = RunRef(
        tenant_id=message.tenant_id,
        run_id=names.turn_id(message.thread_id, message.message_id),
    )
    position = thread["last_position"] + 1
    await connection.execute(
        _ACCEPT,
        values
        | {
            "run": run.run_id,
            "user": thread["user_id"],
            "position": position,
            "status": "queued" if floor else "running",
            "interrupts": floor if message.policy is Policy.INTERRUPT else None,
            "model": message.model,
            "title": _title(message.text),
            "event": _accepted_event(message, position, queued=floor is not None),
        },
    )
    new = TurnPlan(
        run=run,
        thread_id=message.thread_id,
        user_id=thread["user_id"],
        model=message.model,
        has_floor=floor is None,
        interrupts=floor if message.policy is Policy.INTERRUPT else None,
        finished=False,
    )
    return Accepted(run_id=run.run_id, plan=new)


async def plan(connection: Connection, run: RunRef) -> TurnPlan | None:
    """What a turn needs to be started, or None for a run that is gone."""
    row = await one(connection, _PLAN, {"tenant": run.tenant_id, "run": run.run_id})
    return TurnPlan(run=run, **row) if row else None


async def _known(connection: Connection, known: dict[str, Any], message: NewMessage) -> Accepted:
    """The message was sent before; if its run has not begun, its start may have been lost."""
    if known["text"] != message.text:
        raise Conflict("This message id was used for another text.", code="message_conflict")
    run = RunRef(tenant_id=message.tenant_id, run_id=known["run_id"])
    again = await plan(connection, run) if known["not_begun"] else None
    return Accepted(run_id=run.run_id, plan=again)


def _message_values(message: NewMessage) -> dict[str, Any]:
    return {
        "tenant": message.tenant_id,
        "thread": message.thread_id,
        "message": message.message_id,
        "user": message.user_id,
        "all": message.any_thread,
        "text": message.text,
    }


def _accepted_event(message: NewMessage, position: int, *, queued: bool) -> str:
    return event_log.encode(
        {
            "kind": names.Kind.TURN,
            "subject_id": message.thread_id,
            "message_id": message.message_id,
            "position": position,
            "queued": queued,
        }
    )


def _title(text: str) -> str:
    """A new thread is called by the first line of its first message, cut at a word."""
    line = " ".join(text.strip().splitlines()[0].split()) if text.strip() else ""
    return line if len(line) <= 60 else line[:60].rsplit(" ", 1)[0] + "…"
