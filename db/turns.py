"""Turns: accepted, given the floor of their thread, and closed. Order lives here (D7)."""

from typing import Any

from db import ledger
from db.session import Connection, Database, many, one
from domain import names
from domain.chat import Accepted, NewMessage, Policy, TurnClosing, TurnPlan
from domain.errors import Conflict, NotFound
from domain.events import EventType, NewEvent
from domain.runs import Closed, Outcome, RunRef

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
RETURNING pg_notify('{ledger.CHANNEL}', %(tenant)s || '/' || %(run)s)
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
_LOCK = """
SELECT floor_run_id FROM threads WHERE tenant_id = %(tenant)s AND id = (
    SELECT thread_id FROM turns WHERE tenant_id = %(tenant)s AND run_id = %(run)s)
FOR UPDATE
"""
_TURN = """
SELECT t.thread_id, t.position, t.message_id, r.finished_at, r.outcome, r.step, r.attempt,
    r.input_tokens, r.output_tokens, r.cost_micros
FROM turns t JOIN runs r ON r.tenant_id = t.tenant_id AND r.id = t.run_id
WHERE t.tenant_id = %(tenant)s AND t.run_id = %(run)s
"""
# From here on no attempt can append: what stands on screens now is what is kept.
_STOP_APPENDS = """
SELECT step, attempt FROM runs WHERE tenant_id = %(tenant)s AND id = %(run)s FOR UPDATE
"""
_HAND_OVER = """
UPDATE threads SET updated_at = now(), floor_run_id = (
    SELECT t.run_id FROM turns t JOIN runs r ON r.tenant_id = t.tenant_id AND r.id = t.run_id
    WHERE t.tenant_id = threads.tenant_id AND t.thread_id = threads.id
      AND t.run_id <> %(run)s AND r.finished_at IS NULL
    ORDER BY t.position LIMIT 1)
WHERE tenant_id = %(tenant)s AND id = %(thread)s AND floor_run_id = %(run)s
RETURNING floor_run_id
"""
_FINISH = """
UPDATE runs SET status = 'finished', outcome = %(outcome)s, error_code = %(error_code)s,
    error_detail = %(error_detail)s, finished_at = now()
WHERE tenant_id = %(tenant)s AND id = %(run)s
"""
_KEEP_PARTIAL = """
INSERT INTO messages (tenant_id, thread_id, id, run_id, position, step, part, role, text, partial)
VALUES (%(tenant)s, %(thread)s, %(message)s, %(run)s, %(position)s, %(step)s, 0, 'assistant',
    %(text)s, true)
ON CONFLICT DO NOTHING RETURNING 1
"""
_STEP_TEXT = """
SELECT text FROM messages WHERE tenant_id = %(tenant)s AND thread_id = %(thread)s
AND id = %(message)s
"""
_ABANDON = """
UPDATE tool_calls SET status = 'abandoned', finished_at = now()
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND finished_at IS NULL
RETURNING step, attempt, call_id, name
"""
_LEFT_OUT = """
UPDATE messages SET step = %(step)s, part = 1
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND step IS NULL
"""


class Turns:
    """The turns of every thread, and whose turn it is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, message: NewMessage) -> Accepted:
        """Take a message in: from here on it will be answered, once, in the order of acceptance.

        Raises NotFound (`thread_unknown`), Conflict (`message_conflict`: the same id with other
        words; `floor_taken`: the policy was `reject`).
        """
        async with self._database.transaction(message.tenant_id) as connection:
            thread = await one(connection, _LOCK_THREAD, _message_values(message))
            if thread is None:
                raise NotFound("There is no such thread.", code="thread_unknown")
            if known := await one(connection, _KNOWN, _message_values(message)):
                return await _known(connection, known, message)
            return await _take_in(connection, thread, message)

    async def plan(self, run: RunRef) -> TurnPlan | None:
        """What a turn needs to be started, or None for a run that is gone."""
        async with self._database.transaction(run.tenant_id) as connection:
            return await _plan(connection, run)

    async def floor_holder(self, run: RunRef) -> str | None:
        """Who has the floor of this run's thread; None if the run is gone or has ended."""
        async with self._database.transaction(run.tenant_id) as connection:
            turn = await lock_turn(connection, run)
        return turn["floor_run_id"] if turn and turn["finished_at"] is None else None

    async def close(self, closing: TurnClosing) -> Closed:
        """End a turn that did not end itself: keeps its partial answer, closes its open calls,
        hands the floor over. The first ending wins; a later call gives that one back."""
        run = closing.run
        async with self._database.transaction(run.tenant_id) as connection:
            turn = await lock_turn(connection, run)
            if turn is None:
                return Closed(outcome=closing.outcome)
            if turn["finished_at"] is not None:
                return Closed(outcome=Outcome(turn["outcome"]), next_run=turn["floor_run_id"])
            await _abandon_calls(connection, run)
            values = {"tenant": run.tenant_id, "run": run.run_id}
            turn |= await one(connection, _STOP_APPENDS, values) or {}
            text = await _keep_partial(connection, run, turn)
            return await finish(connection, closing, turn, text)


async def lock_turn(connection: Connection, run: RunRef) -> dict[str, Any] | None:
    """The turn's rows, its thread locked: nobody else can take or hand over the floor now."""
    values = {"tenant": run.tenant_id, "run": run.run_id}
    thread = await one(connection, _LOCK, values)
    turn = await one(connection, _TURN, values) if thread else None
    return turn | thread if turn and thread else None


async def finish(
    connection: Connection, closing: TurnClosing, turn: dict[str, Any], text: str
) -> Closed:
    """Write the end of a turn whose thread is locked: its last event, its outcome, the floor."""
    run = closing.run
    values = {"tenant": run.tenant_id, "run": run.run_id, "thread": turn["thread_id"]}
    await connection.execute(_LEFT_OUT, values | {"step": turn["step"]})
    finished = NewEvent(type=EventType.RUN_FINISHED, data=_finished(closing, turn, text))
    await ledger.append(connection, run, turn["step"], turn["attempt"], [finished], fenced=False)
    await connection.execute(_FINISH, values | closing.model_dump(exclude={"run"}))
    row = await one(connection, _HAND_OVER, values)
    return Closed(outcome=closing.outcome, next_run=row["floor_run_id"] if row else None)


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
    return Accepted(run_id=run.run_id, plan=await _plan(connection, run))


async def _plan(connection: Connection, run: RunRef) -> TurnPlan | None:
    row = await one(connection, _PLAN, {"tenant": run.tenant_id, "run": run.run_id})
    return TurnPlan(run=run, **row) if row else None


async def _known(connection: Connection, known: dict[str, Any], message: NewMessage) -> Accepted:
    """The message was sent before; if its run has not begun, its start may have been lost."""
    if known["text"] != message.text:
        raise Conflict("This message id was used for another text.", code="message_conflict")
    run = RunRef(tenant_id=message.tenant_id, run_id=known["run_id"])
    plan = await _plan(connection, run) if known["not_begun"] else None
    return Accepted(run_id=run.run_id, plan=plan)


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
    return ledger.encode(
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


async def _keep_partial(connection: Connection, run: RunRef, turn: dict[str, Any]) -> str:
    """The text that stands on screens becomes the stored answer, marked as partial."""
    values = {
        "tenant": run.tenant_id,
        "run": run.run_id,
        "thread": turn["thread_id"],
        "position": turn["position"],
        "step": turn["step"],
        "message": step_message_id(turn["message_id"], turn["step"]),
        "text": await ledger.streamed_text(connection, run, turn["step"]),
    }
    if values["text"] and await one(connection, _KEEP_PARTIAL, values) is None:
        stored = await one(connection, _STEP_TEXT, values)
        return str(stored["text"]) if stored else ""
    return str(values["text"])


def step_message_id(message_id: str, step: int) -> str:
    """The id of a step's answer; the dot keeps it apart from ids that clients choose."""
    return f"{message_id}.{step}"


async def _abandon_calls(connection: Connection, run: RunRef) -> None:
    values = {"tenant": run.tenant_id, "run": run.run_id}
    for call in await many(connection, _ABANDON, values):
        named = {"call_id": call["call_id"], "name": call["name"]}
        data = named | {"status": "abandoned", "result": None}
        event = NewEvent(type=EventType.TOOL_FINISHED, data=data)
        await ledger.append(connection, run, call["step"], call["attempt"], [event], fenced=False)


def _finished(closing: TurnClosing, turn: dict[str, Any], text: str) -> dict[str, Any]:
    error = None
    if closing.error_code is not None:
        error = {"code": closing.error_code, "detail": closing.error_detail}
    return {
        "outcome": closing.outcome,
        "text": text,
        "error": error,
        "steps": turn["step"],
        "usage": {
            "input_tokens": turn["input_tokens"],
            "output_tokens": turn["output_tokens"],
        },
        "cost_micros": turn["cost_micros"],
    }
