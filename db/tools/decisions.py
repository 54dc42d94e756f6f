"""Decisions: questions put to people about tool calls, and their answers, each recorded once."""

from typing import Any

from db.identity import audit
from db.runs import events as event_log
from db.runs import lifecycle
from db.session import Connection, one
from domain.errors import Conflict, NotFound
from domain.identity.principals import Principal, Scope
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import RunRef
from domain.tools.decisions import DecisionRef, NewDecision, Question, digest_of

_ASK = """
INSERT INTO decisions (tenant_id, run_id, id, step, n, digest, reason, expires_at)
VALUES (%(tenant)s, %(run)s, %(id)s, %(step)s, %(n)s, %(digest)s, %(reason)s, now() + %(limit)s)
ON CONFLICT DO NOTHING RETURNING expires_at
"""
_FIND = """
SELECT d.verdict, d.digest, d.step, d.n, d.expires_at < now() AS expired, r.finished_at, c.name,
    c.finished_at IS NOT NULL AS settled
FROM decisions d JOIN runs r ON r.tenant_id = d.tenant_id AND r.id = d.run_id
JOIN tool_calls c
  ON c.tenant_id = d.tenant_id AND c.run_id = d.run_id AND c.step = d.step AND c.n = d.n
WHERE d.tenant_id = %(tenant)s AND d.run_id = %(run)s AND d.id = %(id)s
  AND (%(all)s OR r.user_id = %(user)s)
FOR UPDATE OF d
"""
_DECIDE = """
UPDATE decisions SET verdict = %(verdict)s, decided_by = %(by)s, decided_at = now()
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND id = %(id)s
"""
# Several questions may be open at once: the run waits for the last of them.
_OPEN = """
SELECT 1 FROM decisions WHERE tenant_id = %(tenant)s AND run_id = %(run)s
  AND verdict IS NULL AND expires_at > now() LIMIT 1
"""


async def ask(connection: Connection, question: Question) -> None:
    """Put a question to a person, in the transaction that knows why."""
    run, call = question.run, question.call
    digest = digest_of(call.name, call.arguments)
    values = _run_values(run) | question.model_dump(include={"id", "step", "n", "reason", "limit"})
    row = await one(connection, _ASK, values | {"digest": digest})
    if row is None:
        return
    data = {
        "decision_id": question.id,
        "call_id": call.call_id,
        "tool": call.name,
        "arguments": call.arguments,
        "digest": digest,
        "reason": question.reason,
        "expires_at": row["expires_at"].isoformat(),
    }
    event = NewEvent(type=EventType.DECISION_REQUESTED, data=data)
    await lifecycle.wait(connection, run)
    await event_log.append(connection, run, question.step, 0, [event], fenced=False)


async def answer(
    connection: Connection, caller: Principal, decision: DecisionRef, given: NewDecision
) -> None:
    """Record a person's answer, once. Raises NotFound, or Conflict: `decision_made`,
    `decision_expired`, `run_finished`, `arguments_changed` (another digest)."""
    values = _run_values(decision.run) | {
        "id": decision.decision_id,
        "user": caller.user_id,
        "all": caller.may(Scope.THREADS_ADMIN),
        "verdict": given.verdict,
        "by": caller.user_id,
    }
    row = await one(connection, _FIND, values)
    _check(row, given)
    assert row is not None
    await connection.execute(_DECIDE, values)
    await _tell_decided(connection, decision, row, caller, given)


async def _tell_decided(
    connection: Connection,
    decision: DecisionRef,
    row: dict[str, Any],
    caller: Principal,
    answer: NewDecision,
) -> None:
    data = {
        "decision_id": decision.decision_id,
        "verdict": answer.verdict,
        "decided_by": caller.user_id,
    }
    event = NewEvent(type=EventType.DECISION_MADE, data=data)
    run = decision.run
    # The append locks the run: of two answers at once, the later one sees the earlier.
    await event_log.append(connection, run, row["step"], 0, [event], fenced=False)
    if await one(connection, _OPEN, _run_values(run)) is None:
        await lifecycle.resume(connection, run)
    await audit.record(
        connection,
        run.tenant_id,
        caller.user_id,
        "decision.made",
        run.run_id,
        decision=decision.decision_id,
        verdict=answer.verdict,
        tool=row["name"],
        digest=row["digest"],
    )


def _check(row: dict[str, Any] | None, answer: NewDecision) -> None:
    if row is None:
        raise NotFound("There is no such decision.", code="decision_unknown")
    if row["verdict"] is not None:
        raise Conflict("This decision was made already.", code="decision_made")
    if row["finished_at"] is not None:
        raise Conflict("The run has ended.", code="run_finished")
    if row["expired"] or row["settled"]:
        raise Conflict("This decision came too late.", code="decision_expired")
    if row["digest"] != answer.digest:
        raise Conflict("The arguments are not the ones you were shown.", code="arguments_changed")


def _run_values(run: RunRef) -> dict[str, Any]:
    return {"tenant": run.tenant_id, "run": run.run_id}
