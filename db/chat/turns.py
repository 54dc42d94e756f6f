"""Turns: accepted, given the floor of their thread, and closed. Order lives here (D7)."""

from typing import Any

from db.chat import acceptance
from db.runs import events as event_log
from db.session import Connection, Database, many, one
from domain.chat.threads import NewMessage
from domain.chat.turns import Accepted, TurnClosing, TurnPlan
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import Closed, Outcome, RunRef

_LOCK = """
SELECT floor_run_id FROM threads WHERE tenant_id = %(tenant)s AND id = (
    SELECT thread_id FROM turns WHERE tenant_id = %(tenant)s AND run_id = %(run)s)
FOR UPDATE
"""
_TURN = """
SELECT t.thread_id, t.position, t.message_id, r.finished_at, r.outcome, r.step, r.attempt,
    r.input_tokens, r.output_tokens, r.cost_micros,
    EXISTS (SELECT FROM messages m WHERE m.tenant_id = t.tenant_id AND m.thread_id = t.thread_id
        AND m.run_id = t.run_id AND m.step IS NULL) AS steered
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
            return await acceptance.accept(connection, message)

    async def plan(self, run: RunRef) -> TurnPlan | None:
        """What a turn needs to be started, or None for a run that is gone."""
        async with self._database.transaction(run.tenant_id) as connection:
            return await acceptance.plan(connection, run)

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
    last = finished_event(closing, turn, text)
    await event_log.append(connection, run, turn["step"], turn["attempt"], [last], fenced=False)
    await connection.execute(_FINISH, values | closing.model_dump(exclude={"run"}))
    next_run = await hand_over(connection, run, turn["thread_id"])
    return Closed(outcome=closing.outcome, next_run=next_run)


async def hand_over(connection: Connection, run: RunRef, thread_id: str) -> str | None:
    """Give the floor of a locked thread to the next open turn, if this run has it."""
    values = {"tenant": run.tenant_id, "run": run.run_id, "thread": thread_id}
    row = await one(connection, _HAND_OVER, values)
    return row["floor_run_id"] if row else None


async def _keep_partial(connection: Connection, run: RunRef, turn: dict[str, Any]) -> str:
    """The text that stands on screens becomes the stored answer, marked as partial."""
    values = {
        "tenant": run.tenant_id,
        "run": run.run_id,
        "thread": turn["thread_id"],
        "position": turn["position"],
        "step": turn["step"],
        "message": step_message_id(turn["message_id"], turn["step"]),
        "text": await event_log.streamed_text(connection, run, turn["step"]),
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
        step, attempt = call["step"], call["attempt"]
        await event_log.append(connection, run, step, attempt, [event], fenced=False)


def finished_event(closing: TurnClosing, turn: dict[str, Any], text: str) -> NewEvent:
    """The last event of a run; `turn` has its steps and its bill."""
    error = None
    if closing.error_code is not None:
        error = {"code": closing.error_code, "detail": closing.error_detail}
    data = {
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
    return NewEvent(type=EventType.RUN_FINISHED, data=data)
