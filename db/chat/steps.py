"""Steps: one question to the model, begun behind a fence and stored once with all that follows."""

from collections.abc import Sequence
from typing import Any

from db.chat import conversation, summaries, turns
from db.runs import events as event_log
from db.runs import leases, lifecycle
from db.runs.leases import Lease
from db.session import Connection, Database, many, one
from db.tools import decisions
from domain import names
from domain.chat.steps import CallVerdict, FinishedStep, NewSummary, StepRef, StepStart, StepVerdict
from domain.runs.attempts import Attempt
from domain.runs.errors import RunUnknown
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import Outcome, RunEnd
from domain.tools.calls import PlannedCall
from domain.tools.decisions import Question


class Steps:
    """The steps of turns; `lease` is that of the process which takes them."""

    def __init__(self, database: Database, lease: Lease | None = None) -> None:
        self._database = database
        self._lease = lease

    async def begin(self, step: StepRef, attempt: Attempt, size: int) -> StepVerdict | StepStart:
        """Take the step for this attempt and load the conversation, at most `size` characters; or
        return the verdict that an earlier attempt has stored.

        Raises RunUnknown, RunFinished, RunCancelled, and Superseded when a newer attempt has it.
        """
        run, number = step.run, attempt.number
        async with self._database.transaction(run.tenant_id) as connection:
            if number > 1 and (verdict := await _stored(connection, step)):
                return verdict
            fence = leases.fence(self._lease, attempt, step.number)
            user_id, thread_id = await lifecycle.begin(connection, run, fence)
            # An earlier attempt may have died before its first word, or before it did anything.
            before = await _before(connection, step) if number > 1 else _NOTHING
            joined = await _join(connection, step, thread_id)
            await _announce(connection, step, number, joined, announced=before["announced"])
            summary, messages = await conversation.load(connection, run, thread_id, size)
        return StepStart(
            user_id=user_id, messages=messages, summary=summary, has_stale_text=before["stale"]
        )

    async def finish(self, step: StepRef, attempt: int, finished: FinishedStep) -> StepVerdict:
        """Store the step with its calls and questions, or nothing of it; an answer without calls
        ends the turn.

        Raises Superseded for another attempt than the current one, RunUnknown.
        """
        run = step.run
        async with self._database.transaction(run.tenant_id) as connection:
            turn = await turns.lock_turn(connection, run)
            if turn is None:
                raise RunUnknown("This run was deleted.")
            final = not finished.calls and not turn["steered"]
            verdict, end = _verdict(step, finished, closed=final), _end(step, finished)
            events = _events(finished)
            if final:
                turn |= {"step": step.number}
                events.append(lifecycle.finished_event(end, turn, finished.completion.text))
            await event_log.append(
                connection, run, step.number, attempt, events, supersede=finished.supersede
            )
            answer = _answer(step, turn, finished, verdict)
            if final:
                await _store_last(connection, answer, end, finished.completion.model)
                next_run = await turns.hand_over(connection, run, turn["thread_id"])
                return verdict.model_copy(update={"next_run": next_run})
            await _store(connection, answer)
            await _store_calls(connection, step, finished)
        return verdict

    async def defer(self, step: StepRef, attempt: int) -> StepVerdict:
        """End a step before it asks the model: its prompt must be summarised first."""
        async with self._database.transaction(step.run.tenant_id) as connection:
            event = summaries.step_finished("context_too_long", step.model, {})
            await event_log.append(connection, step.run, step.number, attempt, [event])
        return StepVerdict(model=step.model, input_tokens=0, output_tokens=0, summarise=True)

    async def summarise(self, step: StepRef, attempt: int, summary: NewSummary) -> StepVerdict:
        """Store a summary as the outcome of a step of its own."""
        async with self._database.transaction(step.run.tenant_id) as connection:
            return await summaries.store(connection, step, attempt, summary)


_STORED = """
-- Read the verdict of a step that an earlier attempt has stored. Locks nothing.
SELECT m.verdict, nullif(h.floor_run_id, m.run_id) AS next_run
FROM messages m JOIN turns t ON t.tenant_id = m.tenant_id AND t.run_id = m.run_id
JOIN threads h ON h.tenant_id = t.tenant_id AND h.id = t.thread_id
WHERE m.tenant_id = %(tenant)s AND m.run_id = %(run)s AND m.thread_id = t.thread_id
  AND m.role = 'assistant' AND m.step = %(step)s AND m.verdict IS NOT NULL
"""


async def _stored(connection: Connection, step: StepRef) -> StepVerdict | None:
    row = await one(connection, _STORED, step.run.key | {"step": step.number})
    if row is None:
        return None
    verdict = StepVerdict.model_validate(row["verdict"])
    return verdict.model_copy(update={"next_run": row["next_run"]}) if verdict.closed else verdict


_NOTHING = {"announced": False, "stale": False}
_BEFORE = """
-- Read what earlier attempts at a step have shown. Locks nothing.
SELECT coalesce(bool_or(type = 'step.started'), false) AS announced,
    coalesce(bool_or(type = 'text.delta'), false) AS stale
FROM run_events WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND step = %(step)s
"""


async def _before(connection: Connection, step: StepRef) -> dict[str, Any]:
    row = await one(connection, _BEFORE, step.run.key | {"step": step.number})
    return row or _NOTHING


_JOIN = """
-- Put messages that were steered in behind the step before this one. The run is locked.
UPDATE messages m SET step = %(step)s - 1, part = s.part
FROM (SELECT thread_id, id, row_number() OVER (ORDER BY created_at, id) AS part FROM messages
      WHERE tenant_id = %(tenant)s AND thread_id = %(thread)s AND run_id = %(run)s
        AND step IS NULL) AS s
WHERE m.tenant_id = %(tenant)s AND m.thread_id = s.thread_id AND m.id = s.id
RETURNING m.id, m.text, m.part
"""


async def _join(connection: Connection, step: StepRef, thread_id: str) -> list[dict[str, Any]]:
    values = step.run.key | {"thread": thread_id, "step": step.number}
    return sorted(await many(connection, _JOIN, values), key=lambda row: row["part"])


async def _announce(
    connection: Connection,
    step: StepRef,
    attempt: int,
    joined: Sequence[dict[str, Any]],
    *,
    announced: bool,
) -> None:
    events = []
    if not announced and step.number == 1:
        events.append(NewEvent(type=EventType.RUN_STARTED, data={}))
    for message in joined:
        data = {"message_id": message["id"], "text": message["text"]}
        events.append(NewEvent(type=EventType.MESSAGE_STEERED, data=data))
    if not announced:
        events.append(NewEvent(type=EventType.STEP_STARTED, data={"model": step.model}))
    if events:
        await event_log.append(connection, step.run, step.number, attempt, events)


def _verdict(step: StepRef, finished: FinishedStep, *, closed: bool) -> StepVerdict:
    completion = finished.completion
    return StepVerdict(
        model=completion.model,
        input_tokens=completion.usage.input_tokens,
        output_tokens=completion.usage.output_tokens,
        calls=tuple(
            CallVerdict(
                n=n,
                name=planned.call.name,
                decision_id=names.decision_id(step.number, n) if planned.ask else None,
            )
            for n, planned in enumerate(finished.calls)
        ),
        closed=closed,
        degraded=completion.degraded,
        note=completion.note,
    )


def _end(step: StepRef, finished: FinishedStep) -> RunEnd:
    degraded = finished.completion.degraded
    return RunEnd(run=step.run, outcome=Outcome.DEGRADED if degraded else Outcome.ANSWERED)


def _events(finished: FinishedStep) -> list[NewEvent]:
    completion = finished.completion
    events = []
    if finished.rest:
        events.append(NewEvent(type=EventType.TEXT_DELTA, data={"text": finished.rest}))
    data: dict[str, Any] = {
        "finish_reason": completion.finish_reason,
        "model": completion.model,
        "usage": completion.usage.model_dump(),
        "cost_micros": completion.cost_micros,
        "tool_calls": [planned.call.model_dump() for planned in finished.calls],
    }
    if completion.cached is not None:
        data["cached"] = completion.cached
    if completion.degraded:
        data["degraded"] = True
    return [*events, NewEvent(type=EventType.STEP_FINISHED, data=data)]


_MESSAGE = """
    INSERT INTO messages (tenant_id, thread_id, id, run_id, position, step, part, role, text,
        partial, verdict)
    VALUES (%(tenant)s, %(thread)s, %(message)s, %(run)s, %(position)s, %(step)s, 0, 'assistant',
        %(text)s, false, %(verdict)s::jsonb)
"""


def _answer(
    step: StepRef, turn: dict[str, Any], finished: FinishedStep, verdict: StepVerdict
) -> dict[str, Any]:
    return step.run.key | {
        "thread": turn["thread_id"],
        "message": names.step_message_id(turn["message_id"], step.number),
        "position": turn["position"],
        "step": step.number,
        "text": finished.completion.text,
        "verdict": verdict.model_dump_json(),
        "answered_by": finished.completion.model,
    }


_STORE_LAST = f"""
-- Store the last answer of a turn with its end. The run is locked by the append before.
WITH message AS ({_MESSAGE})
{lifecycle.END_RUN}
"""


async def _store_last(
    connection: Connection, answer: dict[str, Any], end: RunEnd, model: str
) -> None:
    await connection.execute(_STORE_LAST, answer | lifecycle.end_values(end, model))


_STORE = f"""
-- Store the answer of a step that another one follows. The run is locked by the append before.
WITH message AS ({_MESSAGE})
UPDATE runs SET model = %(answered_by)s WHERE tenant_id = %(tenant)s AND id = %(run)s
"""


async def _store(connection: Connection, answer: dict[str, Any]) -> None:
    await connection.execute(_STORE, answer)


async def _store_calls(connection: Connection, step: StepRef, finished: FinishedStep) -> None:
    if not finished.calls:
        return
    await _insert_calls(connection, step, finished.calls)
    for n, planned in enumerate(finished.calls):
        if planned.ask:
            question = Question(
                id=names.decision_id(step.number, n),
                run=step.run,
                step=step.number,
                n=n,
                call=planned.call,
                reason=planned.ask,
                limit=finished.decision_limit,
            )
            await decisions.ask(connection, question)


_CALLS = """
-- Store the calls that a step asked for, in their order. The run is locked by the append before.
INSERT INTO tool_calls (tenant_id, run_id, step, n, call_id, name, arguments, safety, status,
    attempt)
SELECT %(tenant)s, %(run)s, %(step)s, c.n - 1, c.call_id, c.name, c.arguments::jsonb, c.safety,
    'pending', 0
FROM unnest(%(call_ids)s::text[], %(names)s::text[], %(arguments)s::text[], %(safeties)s::text[])
    WITH ORDINALITY AS c (call_id, name, arguments, safety, n)
"""


async def _insert_calls(
    connection: Connection, step: StepRef, calls: Sequence[PlannedCall]
) -> None:
    values = {
        "step": step.number,
        "call_ids": [planned.call.call_id for planned in calls],
        "names": [planned.call.name for planned in calls],
        "arguments": [event_log.encode(planned.call.arguments) for planned in calls],
        "safeties": [planned.safety for planned in calls],
    }
    await connection.execute(_CALLS, step.run.key | values)
