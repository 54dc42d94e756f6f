"""Steps: one question to the model, begun behind a fence and stored once with all that follows."""

from collections.abc import Sequence
from typing import Any

from db.chat import conversation, summaries, turns
from db.runs import events as event_log
from db.runs.leases import Lease
from db.session import Connection, Database, many, one
from db.tools import decisions
from domain.chat.steps import CallVerdict, FinishedStep, NewSummary, Opening, StepRef, StepVerdict
from domain.chat.turns import TurnClosing
from domain.errors import NotFound, Superseded
from domain.runs.attempts import Attempt
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import Outcome, RunRef
from domain.tools.calls import PlannedCall
from domain.tools.decisions import Question

# Attempts are numbered by Temporal: an attempt that starts late can never push a newer one out.
_BEGIN = """
UPDATE runs SET step = %(step)s, attempt = %(attempt)s, status = 'running', active_at = now(),
    worker = %(worker)s, activity_id = %(activity)s
WHERE tenant_id = %(tenant)s AND id = %(run)s AND finished_at IS NULL AND NOT cancelling
  AND (step, attempt) <= (%(step)s, %(attempt)s)
RETURNING user_id, subject_id
"""
_STORED = """
SELECT m.verdict, nullif(h.floor_run_id, m.run_id) AS next_run
FROM messages m JOIN turns t ON t.tenant_id = m.tenant_id AND t.run_id = m.run_id
JOIN threads h ON h.tenant_id = t.tenant_id AND h.id = t.thread_id
WHERE m.tenant_id = %(tenant)s AND m.run_id = %(run)s AND m.thread_id = t.thread_id
  AND m.role = 'assistant' AND m.step = %(step)s AND m.verdict IS NOT NULL
"""
_BEFORE = """
SELECT coalesce(bool_or(type = 'step.started'), false) AS announced,
    coalesce(bool_or(type = 'text.delta'), false) AS stale
FROM run_events WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND step = %(step)s
"""
_JOIN = """
UPDATE messages m SET step = %(step)s - 1, part = s.part
FROM (SELECT thread_id, id, row_number() OVER (ORDER BY created_at, id) AS part FROM messages
      WHERE tenant_id = %(tenant)s AND thread_id = %(thread)s AND run_id = %(run)s
        AND step IS NULL) AS s
WHERE m.tenant_id = %(tenant)s AND m.thread_id = s.thread_id AND m.id = s.id
RETURNING m.id, m.text, m.part
"""
_STORE = """
WITH message AS (
    INSERT INTO messages (tenant_id, thread_id, id, run_id, position, step, part, role, text,
        partial, verdict)
    VALUES (%(tenant)s, %(thread)s, %(message)s, %(run)s, %(position)s, %(step)s, 0, 'assistant',
        %(text)s, false, %(verdict)s::jsonb)
)
UPDATE runs SET model = %(model)s, status = %(status)s, outcome = %(outcome)s,
    finished_at = CASE WHEN %(outcome)s::text IS NULL THEN NULL ELSE now() END
WHERE tenant_id = %(tenant)s AND id = %(run)s
"""
_CALLS = """
INSERT INTO tool_calls (tenant_id, run_id, step, n, call_id, name, arguments, safety, status,
    attempt)
SELECT %(tenant)s, %(run)s, %(step)s, c.n - 1, c.call_id, c.name, c.arguments::jsonb, c.safety,
    'pending', 0
FROM unnest(%(call_ids)s::text[], %(names)s::text[], %(arguments)s::text[], %(safeties)s::text[])
    WITH ORDINALITY AS c (call_id, name, arguments, safety, n)
"""


class Steps:
    """The steps of turns; `lease` is that of the process which takes them."""

    def __init__(self, database: Database, lease: Lease | None = None) -> None:
        self._database = database
        self._lease = lease

    async def begin(self, step: StepRef, attempt: Attempt, size: int) -> Opening:
        """Take the step for this attempt and load the conversation, at most `size` characters.

        Raises Superseded when a newer attempt has it or the run has ended otherwise, NotFound
        (`run_unknown`) when the run was deleted.
        """
        number = attempt.number
        values = _values(step, number)
        mine = {"worker": self._lease.key if self._lease else None, "activity": attempt.activity_id}
        async with self._database.transaction(step.run.tenant_id) as connection:
            if number > 1 and (stored := await one(connection, _STORED, values)):
                return _done(stored)
            begun = await one(connection, _BEGIN, values | mine)
            if begun is None:
                raise await _refusal(connection, values)
            values |= {"thread": begun["subject_id"], "size": size}
            # An earlier attempt may have died before its first word, or before it did anything.
            before = await one(connection, _BEFORE, values) if number > 1 else None
            announced = before is not None and before["announced"]
            await _announce(connection, step, number, values, announced=announced)
            summary, messages = await conversation.load(connection, values)
        return Opening(
            verdict=None,
            stale_text=before is not None and before["stale"],
            user_id=begun["user_id"],
            messages=messages,
            summary=summary,
        )

    async def finish(self, step: StepRef, attempt: int, finished: FinishedStep) -> StepVerdict:
        """Store the step with its calls and questions; an answer without calls closes the turn.

        Either all of it happens or nothing, and only for the current attempt (Superseded).
        """
        run = step.run
        async with self._database.transaction(run.tenant_id) as connection:
            turn = await turns.lock_turn(connection, run)
            if turn is None:
                raise NotFound("This run was deleted.", code="run_unknown")
            values = _values(step, attempt) | {"thread": turn["thread_id"]}
            final = not finished.calls and not turn["steered"]
            verdict = _verdict(step, finished, closed=final)
            events = _events(finished)
            if final:
                events.append(_last_event(step, turn, finished))
            await event_log.append(
                connection, run, step.number, attempt, events, supersede=finished.supersede
            )
            await _store(connection, values, turn, finished, verdict)
            if not final:
                return verdict
            next_run = await turns.hand_over(connection, run, turn["thread_id"])
            return verdict.model_copy(update={"next_run": next_run})

    async def defer(self, step: StepRef, attempt: int) -> StepVerdict:
        """End a step that has asked nobody, because its prompt must be summarised first."""
        async with self._database.transaction(step.run.tenant_id) as connection:
            event = summaries.finished("context_too_long", step.model, {})
            await event_log.append(connection, step.run, step.number, attempt, [event])
        return StepVerdict(model=step.model, input_tokens=0, output_tokens=0, summarise=True)

    async def summarise(self, step: StepRef, attempt: int, summary: NewSummary) -> StepVerdict:
        """Store a summary as the outcome of a step of its own."""
        async with self._database.transaction(step.run.tenant_id) as connection:
            return await summaries.store(connection, step, attempt, summary)


def _last_event(step: StepRef, turn: dict[str, Any], finished: FinishedStep) -> NewEvent:
    outcome = _outcome(finished)
    closing = TurnClosing(run=step.run, outcome=outcome)
    text = finished.completion.text
    return turns.finished_event(closing, turn | {"step": step.number}, text)


def _outcome(finished: FinishedStep) -> Outcome:
    return Outcome.DEGRADED if finished.completion.degraded else Outcome.ANSWERED


def _values(step: StepRef, attempt: int) -> dict[str, Any]:
    run = step.run
    return {
        "tenant": run.tenant_id,
        "run": run.run_id,
        "step": step.number,
        "attempt": attempt,
    }


def _done(stored: dict[str, Any]) -> Opening:
    verdict = StepVerdict.model_validate(stored["verdict"])
    if verdict.closed:
        verdict = verdict.model_copy(update={"next_run": stored["next_run"]})
    return Opening(verdict=verdict, stale_text=False, user_id="", messages=())


async def _refusal(connection: Connection, values: dict[str, Any]) -> NotFound | Superseded:
    query = "SELECT cancelling FROM runs WHERE tenant_id = %(tenant)s AND id = %(run)s"
    row = await one(connection, query, values)
    if row is None:
        return NotFound("This run was deleted.", code="run_unknown")
    if row["cancelling"]:
        return Superseded("This run is being cancelled.", code="run_cancelled")
    return Superseded("A newer attempt has taken over this step, or the run has ended.")


async def _announce(
    connection: Connection, step: StepRef, attempt: int, values: dict[str, Any], *, announced: bool
) -> None:
    events = []
    if not announced and step.number == 1:
        events.append(NewEvent(type=EventType.RUN_STARTED, data={}))
    for joined in sorted(await many(connection, _JOIN, values), key=lambda row: row["part"]):
        data = {"message_id": joined["id"], "text": joined["text"]}
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
                decision_id=decision_id(step.number, n) if planned.ask else None,
            )
            for n, planned in enumerate(finished.calls)
        ),
        closed=closed,
        degraded=completion.degraded,
        note=completion.note,
    )


def decision_id(step: int, n: int) -> str:
    """The id of the question that is asked before a call, unique within its run."""
    return f"{step}-{n}"


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


async def _store(
    connection: Connection,
    values: dict[str, Any],
    turn: dict[str, Any],
    finished: FinishedStep,
    verdict: StepVerdict,
) -> None:
    completion = finished.completion
    asks = any(planned.ask for planned in finished.calls)
    more = {
        "position": turn["position"],
        "message": turns.step_message_id(turn["message_id"], values["step"]),
        "text": completion.text,
        "verdict": verdict.model_dump_json(),
        "model": completion.model,
        "status": "finished" if verdict.closed else "waiting" if asks else "running",
        "outcome": _outcome(finished) if verdict.closed else None,
    }
    await connection.execute(_STORE, values | more)
    if finished.calls:
        await connection.execute(_CALLS, values | _call_values(finished.calls))
        await _ask(connection, values, finished)


def _call_values(calls: Sequence[PlannedCall]) -> dict[str, Any]:
    return {
        "call_ids": [planned.call.call_id for planned in calls],
        "names": [planned.call.name for planned in calls],
        "arguments": [event_log.encode(planned.call.arguments) for planned in calls],
        "safeties": [planned.safety for planned in calls],
    }


async def _ask(connection: Connection, values: dict[str, Any], finished: FinishedStep) -> None:
    run = RunRef(tenant_id=values["tenant"], run_id=values["run"])
    for n, planned in enumerate(finished.calls):
        if planned.ask:
            question = Question(
                id=decision_id(values["step"], n),
                run=run,
                step=values["step"],
                n=n,
                call=planned.call,
                reason=planned.ask,
                limit=finished.decision_limit,
            )
            await decisions.ask(connection, question)
