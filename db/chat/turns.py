"""Turns: accepted, given the floor of their thread, and ended. Order lives here (D7)."""

from typing import Any

from db.chat import acceptance
from db.runs import events as event_log
from db.runs import lifecycle
from db.session import Connection, Database, many, one
from domain import names
from domain.chat.turns import NewMessage
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import EndedRun, Outcome, RunEnd, RunRef, RunSpec


class Turns:
    """The turns of every thread, and whose turn it is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, message: NewMessage) -> tuple[RunRef, RunSpec | None]:
        """Accept a message: from here on it will be answered, once, in the order of acceptance.

        Return the run that answers it, and its spec unless it has begun. Raises
        ThreadUnknown, MessageConflict (the same id with other words), FloorTaken (the policy was
        `reject`).
        """
        async with self._database.transaction(message.tenant_id) as connection:
            return await acceptance.accept(connection, message)

    async def floor_holder(self, run: RunRef) -> str | None:
        """Return who has the floor of this run's thread; None if the run is gone or has ended."""
        async with self._database.transaction(run.tenant_id) as connection:
            turn = await lock_turn(connection, run)
        return turn["floor_run_id"] if turn and turn["outcome"] is None else None


async def end(connection: Connection, end: RunEnd) -> EndedRun:
    """End a turn that did not end itself: keep its partial answer, close its open calls, hand the
    floor over. The first end wins; a later call returns that one."""
    run = end.run
    turn = await lock_turn(connection, run)
    if turn is None:
        return EndedRun(outcome=end.outcome)
    if turn["outcome"] is not None:
        return EndedRun(outcome=Outcome(turn["outcome"]), next_run=turn["floor_run_id"])
    await _abandon_calls(connection, run)
    # From here on no attempt can append: what stands on screens now is what is kept.
    turn |= await lifecycle.lock(connection, run) or {}
    text = await _keep_partial(connection, run, turn)
    await _place_steered(connection, run, turn["step"])
    await lifecycle.finish(connection, end, turn, text)
    next_run = await hand_over(connection, run, turn["thread_id"])
    return EndedRun(outcome=end.outcome, next_run=next_run)


async def lock_turn(connection: Connection, run: RunRef) -> dict[str, Any] | None:
    """Return a turn's row with its run's, its thread locked: nobody else can take or hand over the
    floor now. None if the turn was deleted."""
    thread = await _lock_thread(connection, run)
    turn = await _read(connection, run) if thread else None
    return turn | thread if turn and thread else None


_LOCK_THREAD = """
-- Lock the thread of a turn: its floor changes hands by one writer at a time.
SELECT floor_run_id FROM threads WHERE tenant_id = %(tenant)s AND id = (
    SELECT thread_id FROM turns WHERE tenant_id = %(tenant)s AND run_id = %(run)s)
FOR UPDATE
"""


async def _lock_thread(connection: Connection, run: RunRef) -> dict[str, Any] | None:
    return await one(connection, _LOCK_THREAD, run.key)


_READ = """
-- Read a turn, its run's steps and bill, and whether a message was steered in. Locks nothing.
SELECT t.thread_id, t.position, t.message_id, r.outcome, r.step, r.attempt,
    r.input_tokens, r.output_tokens, r.cost_micros,
    EXISTS (SELECT FROM messages m WHERE m.tenant_id = t.tenant_id AND m.thread_id = t.thread_id
        AND m.run_id = t.run_id AND m.step IS NULL) AS steered
FROM turns t JOIN runs r ON r.tenant_id = t.tenant_id AND r.id = t.run_id
WHERE t.tenant_id = %(tenant)s AND t.run_id = %(run)s
"""


async def _read(connection: Connection, run: RunRef) -> dict[str, Any] | None:
    return await one(connection, _READ, run.key)


_HAND_OVER = """
-- Give the floor of a locked thread to its next open turn by position, if this run has it.
UPDATE threads SET updated_at = now(), floor_run_id = (
    SELECT t.run_id FROM turns t JOIN runs r ON r.tenant_id = t.tenant_id AND r.id = t.run_id
    WHERE t.tenant_id = threads.tenant_id AND t.thread_id = threads.id
      AND t.run_id <> %(run)s AND r.finished_at IS NULL
    ORDER BY t.position LIMIT 1)
WHERE tenant_id = %(tenant)s AND id = %(thread)s AND floor_run_id = %(run)s
RETURNING floor_run_id
"""


async def hand_over(connection: Connection, run: RunRef, thread_id: str) -> str | None:
    """Return the run that has the floor of a locked thread after this one; None if none waits."""
    row = await one(connection, _HAND_OVER, run.key | {"thread": thread_id})
    return row["floor_run_id"] if row else None


async def _keep_partial(connection: Connection, run: RunRef, turn: dict[str, Any]) -> str:
    """Make the text that stands on screens the stored answer, marked as partial."""
    text = await event_log.streamed_text(connection, run, turn["step"])
    message_id = names.step_message_id(turn["message_id"], turn["step"])
    if not text or await _store_partial(connection, run, turn, message_id, text):
        return text
    return await _stored_text(connection, run, turn["thread_id"], message_id)


_STORE_PARTIAL = """
-- Store a partial answer, unless its step has stored an answer. Locks nothing else.
INSERT INTO messages (tenant_id, thread_id, id, run_id, position, step, part, role, text, partial)
VALUES (%(tenant)s, %(thread)s, %(message)s, %(run)s, %(position)s, %(step)s, 0, 'assistant',
    %(text)s, true)
ON CONFLICT DO NOTHING RETURNING 1
"""


async def _store_partial(
    connection: Connection, run: RunRef, turn: dict[str, Any], message_id: str, text: str
) -> bool:
    values = {name: turn[name] for name in ("position", "step")}
    values |= {"thread": turn["thread_id"], "message": message_id, "text": text}
    return await one(connection, _STORE_PARTIAL, run.key | values) is not None


_STORED_TEXT = """
-- Read a step's answer. Locks nothing.
SELECT text FROM messages WHERE tenant_id = %(tenant)s AND thread_id = %(thread)s
AND id = %(message)s
"""


async def _stored_text(connection: Connection, run: RunRef, thread_id: str, message_id: str) -> str:
    values = {"thread": thread_id, "message": message_id}
    row = await one(connection, _STORED_TEXT, run.key | values)
    return str(row["text"]) if row else ""


_ABANDON = """
-- Close the open calls of a run. Locks them: an attempt that still runs cannot store its result.
UPDATE tool_calls SET status = 'abandoned', finished_at = now()
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND finished_at IS NULL
RETURNING step, attempt, call_id, name
"""


async def _abandon_calls(connection: Connection, run: RunRef) -> None:
    for call in await many(connection, _ABANDON, run.key):
        named = {"call_id": call["call_id"], "name": call["name"]}
        data = named | {"status": "abandoned", "result": None}
        event = NewEvent(type=EventType.TOOL_FINISHED, data=data)
        step, attempt = call["step"], call["attempt"]
        await event_log.append(connection, run, step, attempt, [event], fenced=False)


_PLACE_STEERED = """
-- Put messages that were steered in too late behind the last step. The thread is locked.
UPDATE messages SET step = %(step)s, part = 1
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND step IS NULL
"""


async def _place_steered(connection: Connection, run: RunRef, step: int) -> None:
    await connection.execute(_PLACE_STEERED, run.key | {"step": step})
