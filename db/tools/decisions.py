"""Decisions: questions put to people about tool calls, and their answers, each recorded once."""

from typing import Any

from db.identity import audit
from db.runs import events as event_log
from db.runs import lifecycle
from db.session import Connection, one
from domain.identity.principals import Principal, Scope
from domain.runs.errors import RunFinished
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import RunRef
from domain.tools.decisions import DecisionRef, NewDecision, Question, call_digest
from domain.tools.errors import ArgumentsChanged, DecisionExpired, DecisionMade, DecisionUnknown


async def ask(connection: Connection, question: Question) -> None:
    """Put a question to a person, once, in the transaction that has its reason."""
    run, call = question.run, question.call
    digest = call_digest(call.name, call.arguments)
    expires_at = await _insert(connection, question, digest)
    if expires_at is None:
        return
    data = {
        "decision_id": question.id,
        "call_id": call.call_id,
        "tool": call.name,
        "arguments": call.arguments,
        "digest": digest,
        "reason": question.reason,
        "expires_at": expires_at,
    }
    event = NewEvent(type=EventType.DECISION_REQUESTED, data=data)
    await lifecycle.wait(connection, run)
    await event_log.append(connection, run, question.step, 0, [event], fenced=False)


_INSERT = """
-- A question that is open until it expires; one that was put before stays as it is. Locks its row.
INSERT INTO decisions (tenant_id, run_id, id, step, n, digest, reason, expires_at)
VALUES (%(tenant)s, %(run)s, %(id)s, %(step)s, %(n)s, %(digest)s, %(reason)s,
    now() + %(limit)s::interval)
ON CONFLICT DO NOTHING RETURNING expires_at
"""


async def _insert(connection: Connection, question: Question, digest: str) -> str | None:
    """Return when the question expires; None if it was put before."""
    values = question.model_dump(include={"id", "step", "n", "reason", "limit"})
    row = await one(connection, _INSERT, question.run.key | values | {"digest": digest})
    return row["expires_at"].isoformat() if row else None


async def answer(
    connection: Connection, caller: Principal, decision: DecisionRef, new: NewDecision
) -> None:
    """Record a person's answer, once.

    Raises DecisionUnknown, DecisionMade, DecisionExpired, RunFinished, and ArgumentsChanged for
    another digest.
    """
    row = await _lock(connection, caller, decision)
    _check(row, new)
    await _decide(connection, caller, decision, new)
    data = {
        "decision_id": decision.decision_id,
        "verdict": new.verdict,
        "decided_by": caller.user_id,
    }
    event = NewEvent(type=EventType.DECISION_MADE, data=data)
    run = decision.run
    # The append locks the run: of two answers at once, the later one sees the earlier.
    await event_log.append(connection, run, row["step"], 0, [event], fenced=False)
    if not await _is_any_open(connection, run):
        await lifecycle.resume(connection, run)
    await _record(connection, caller, run, decision.decision_id, new, row)


_LOCK = """
-- A question of one of the caller's own runs, or of anybody's for administrators. Locks its row, so
-- that it is answered once.
SELECT d.verdict, d.digest, d.step, d.expires_at < now() AS expired, r.finished_at, c.name,
    c.finished_at IS NOT NULL AS call_over
FROM decisions d JOIN runs r ON r.tenant_id = d.tenant_id AND r.id = d.run_id
JOIN tool_calls c
  ON c.tenant_id = d.tenant_id AND c.run_id = d.run_id AND c.step = d.step AND c.n = d.n
WHERE d.tenant_id = %(tenant)s AND d.run_id = %(run)s AND d.id = %(id)s
  AND (%(all)s OR r.user_id = %(user)s)
FOR UPDATE OF d
"""


async def _lock(connection: Connection, caller: Principal, decision: DecisionRef) -> dict[str, Any]:
    values = caller.key | decision.run.key | {"id": decision.decision_id}
    row = await one(connection, _LOCK, values | {"all": caller.may(Scope.THREADS_ADMIN)})
    if row is None:
        raise DecisionUnknown
    return row


def _check(row: dict[str, Any], new: NewDecision) -> None:
    if row["verdict"] is not None:
        raise DecisionMade
    if row["finished_at"] is not None:
        raise RunFinished
    if row["expired"] or row["call_over"]:
        raise DecisionExpired
    if row["digest"] != new.digest:
        raise ArgumentsChanged


# Several questions may be open at once: the run waits for the last of them.
_OPEN = """
-- Any question of a run that waits for its answer; locks nothing.
SELECT 1 FROM decisions WHERE tenant_id = %(tenant)s AND run_id = %(run)s
  AND verdict IS NULL AND expires_at > now() LIMIT 1
"""


async def _is_any_open(connection: Connection, run: RunRef) -> bool:
    return await one(connection, _OPEN, run.key) is not None


_DECIDE = """
-- The verdict of a question whose row the caller has locked, and found open.
UPDATE decisions SET verdict = %(verdict)s, decided_by = %(user)s, decided_at = now()
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND id = %(id)s
"""


async def _decide(
    connection: Connection, caller: Principal, decision: DecisionRef, new: NewDecision
) -> None:
    values = caller.key | decision.run.key | {"id": decision.decision_id, "verdict": new.verdict}
    await connection.execute(_DECIDE, values)


async def _record(
    connection: Connection,
    caller: Principal,
    run: RunRef,
    decision_id: str,
    new: NewDecision,
    row: dict[str, Any],
) -> None:
    await audit.record(
        connection,
        run.tenant_id,
        caller.user_id,
        "decision.made",
        run.run_id,
        decision=decision_id,
        verdict=new.verdict,
        tool=row["name"],
        digest=row["digest"],
    )
