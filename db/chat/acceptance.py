"""Acceptance: the one transaction in which a message becomes a turn with a place in its thread."""

from typing import Any

from db.runs import events as event_log
from db.runs import lifecycle
from db.session import Connection, one
from domain import names
from domain.chat import turns
from domain.chat.errors import FloorTaken, MessageConflict, ThreadUnknown
from domain.chat.threads import Policy
from domain.chat.turns import NewMessage
from domain.runs.runs import RunRef, RunSpec, RunStatus


async def accept(connection: Connection, message: NewMessage) -> tuple[RunRef, RunSpec | None]:
    """Accept a message: see `Turns.accept`."""
    values = _message_values(message)
    thread = await _lock_thread(connection, values)
    if known := await _known(connection, values):
        return await _again(connection, known, message)
    floor = thread["floor_run_id"]
    if floor is not None and message.policy is Policy.REJECT:
        raise FloorTaken(run_id=floor)
    if floor is not None and message.policy is Policy.STEER:
        await _steer(connection, values | {"floor": floor})
        return RunRef(tenant_id=message.tenant_id, run_id=floor), None
    spec = await _accept_turn(connection, thread, message, values)
    return spec.run, spec


# A statement of its own: what the next one reads was committed before the lock was got.
_LOCK_THREAD = """
-- Lock a thread that the caller may write in: messages are accepted one after the other.
SELECT user_id, floor_run_id, last_position FROM threads
WHERE tenant_id = %(tenant)s AND id = %(thread)s AND (%(all)s OR user_id = %(user)s)
FOR UPDATE
"""


async def _lock_thread(connection: Connection, values: dict[str, Any]) -> dict[str, Any]:
    thread = await one(connection, _LOCK_THREAD, values)
    if thread is None:
        raise ThreadUnknown
    return thread


_KNOWN = """
-- Read the run that answers a message which was sent before. The thread is locked.
SELECT m.run_id, m.text, r.step = 0 AND r.finished_at IS NULL AS not_begun
FROM messages m JOIN runs r ON r.tenant_id = m.tenant_id AND r.id = m.run_id
WHERE m.tenant_id = %(tenant)s AND m.thread_id = %(thread)s AND m.id = %(message)s
"""


async def _known(connection: Connection, values: dict[str, Any]) -> dict[str, Any] | None:
    return await one(connection, _KNOWN, values)


async def _again(
    connection: Connection, known: dict[str, Any], message: NewMessage
) -> tuple[RunRef, RunSpec | None]:
    """Return the run of a message that was sent before. If it has not begun, its start may have
    been lost."""
    if known["text"] != message.text:
        raise MessageConflict("This message id was used for another text.")
    run = RunRef(tenant_id=message.tenant_id, run_id=known["run_id"])
    return run, await lifecycle.spec_of(connection, run) if known["not_begun"] else None


_STEER = """
-- Put a message behind the last step of the turn that has the floor of its locked thread.
INSERT INTO messages (tenant_id, thread_id, id, run_id, position, step, part, role, text, partial)
SELECT tenant_id, thread_id, %(message)s, run_id, position, NULL, 0, 'user', %(text)s, false
FROM turns WHERE tenant_id = %(tenant)s AND run_id = %(floor)s
"""


async def _steer(connection: Connection, values: dict[str, Any]) -> None:
    await connection.execute(_STEER, values)


_ACCEPT = f"""
-- Accept a turn with its message behind all others of its locked thread, and give it the floor if
-- nobody has it. Wakes readers.
WITH {lifecycle.ACCEPT_RUN}, turn AS (
    INSERT INTO turns (tenant_id, run_id, thread_id, message_id, position)
    VALUES (%(tenant)s, %(run)s, %(thread)s, %(message)s, %(position)s)
), message AS (
    INSERT INTO messages (tenant_id, thread_id, id, run_id, position, step, part, role, text,
        partial)
    VALUES (%(tenant)s, %(thread)s, %(message)s, %(run)s, %(position)s, 0, 0, 'user', %(text)s,
        false)
)
UPDATE threads SET last_position = %(position)s, updated_at = now(),
    floor_run_id = coalesce(floor_run_id, %(run)s),
    title = CASE WHEN title = '' THEN %(title)s ELSE title END
WHERE tenant_id = %(tenant)s AND id = %(thread)s
RETURNING pg_notify('{event_log.CHANNEL}', %(tenant)s || '/' || %(run)s)
"""


async def _accept_turn(
    connection: Connection,
    thread: dict[str, Any],
    message: NewMessage,
    values: dict[str, Any],
) -> RunSpec:
    run_id = names.turn_id(message.thread_id, message.message_id)
    run = RunRef(tenant_id=message.tenant_id, run_id=run_id)
    floor, position = thread["floor_run_id"], thread["last_position"] + 1
    spec = turns.spec_of(message, run, thread["user_id"], floor)
    accepted = lifecycle.acceptance(
        spec,
        status=RunStatus.RUNNING if floor is None else RunStatus.QUEUED,
        message_id=message.message_id,
        position=position,
        queued=floor is not None,
    )
    more = {"position": position, "title": _title(message.text)}
    await connection.execute(_ACCEPT, values | accepted | more)
    return spec


def _message_values(message: NewMessage) -> dict[str, Any]:
    return {
        "tenant": message.tenant_id,
        "thread": message.thread_id,
        "message": message.message_id,
        "user": message.user_id,
        "all": message.any_thread,
        "text": message.text,
    }


def _title(text: str) -> str:
    """Return the title of a new thread: the first line of its first message, cut at a word."""
    line = " ".join(text.strip().splitlines()[0].split()) if text.strip() else ""
    return line if len(line) <= 60 else line[:60].rsplit(" ", 1)[0] + "…"
