"""Tool calls: made behind a fence, recorded once."""

from datetime import timedelta
from typing import Any

from db.identity import audit
from db.runs import events as event_log
from db.runs.leases import Lease
from db.session import Connection, Database, many, one
from db.tools import decisions
from domain.errors import Superseded
from domain.gateway.completions import ToolCall
from domain.identity.principals import Principal
from domain.runs.attempts import Attempt
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import RunRef
from domain.tools.calls import CallOutcome, CallRef, CallStatus, OpenedCall, ToolCallView
from domain.tools.decisions import (
    Decision,
    DecisionRef,
    DecisionState,
    NewDecision,
    Question,
    Verdict,
)
from domain.tools.tools import Safety, ToolResult

_LOCK = """
SELECT c.call_id, c.name, c.arguments, c.safety, c.status, c.attempt, r.user_id,
    r.finished_at IS NOT NULL OR r.cancelling AS over
FROM tool_calls c JOIN runs r ON r.tenant_id = c.tenant_id AND r.id = c.run_id
WHERE c.tenant_id = %(tenant)s AND c.run_id = %(run)s AND c.step = %(step)s AND c.n = %(n)s
FOR UPDATE OF c
"""
_OF_RUN = """
SELECT call_id, name, arguments, status, result FROM tool_calls
WHERE tenant_id = %(tenant)s AND run_id = %(run)s ORDER BY step, n
"""
_BEGIN = """
UPDATE tool_calls SET status = 'running', attempt = %(attempt)s, worker = %(worker)s,
    activity_id = %(activity)s, failures = CASE WHEN %(again)s THEN 0 ELSE failures END
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND step = %(step)s AND n = %(n)s
"""
_FAIL = """
UPDATE tool_calls SET failures = failures + 1
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND step = %(step)s AND n = %(n)s
  AND attempt = %(attempt)s AND finished_at IS NULL
RETURNING failures
"""
_END = """
UPDATE tool_calls SET status = %(status)s, result = %(result)s, finished_at = now()
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND step = %(step)s AND n = %(n)s
  AND attempt = %(attempt)s AND finished_at IS NULL
RETURNING call_id, name
"""
_STATUS = """
UPDATE tool_calls SET status = %(status)s
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND step = %(step)s AND n = %(n)s
"""
_DECISION = """
SELECT d.id, d.run_id, d.digest, d.reason, d.verdict, d.expires_at, c.call_id, c.name AS tool,
    c.arguments
FROM decisions d JOIN tool_calls c
  ON c.tenant_id = d.tenant_id AND c.run_id = d.run_id AND c.step = d.step AND c.n = d.n
WHERE d.tenant_id = %(tenant)s AND d.run_id = %(run)s
"""
_LOST = "A newer attempt makes this call, or it is over."


class Calls:
    """The tool calls of steps, and the decisions about them."""

    def __init__(self, database: Database, lease: Lease | None = None) -> None:
        self._database = database
        self._lease = lease

    async def begin(self, call: CallRef, attempt: Attempt, limit: timedelta) -> OpenedCall:
        """Take a call for this attempt. An unsafe call that an earlier attempt had begun is not
        begun again: nobody knows whether it acted, so a person is asked within `limit`.

        Raises Superseded when a newer attempt has it or the run has ended.
        """
        values = _values(call) | {
            "worker": self._lease.key if self._lease else None,
            "activity": attempt.activity_id,
            # A repetition that a person has allowed may fail as often as the first call.
            "again": call.again,
        }
        async with self._database.transaction(call.run.tenant_id) as connection:
            row = await one(connection, _LOCK, values)
            if row is None or row["over"]:
                raise Superseded("This run has ended, or is being cancelled.", code="run_finished")
            if settled := await _settled(connection, call, row, attempt.number, limit):
                return _opened(row, settled)
            number = row["attempt"] + 1 if call.again else attempt.number
            if row["attempt"] > number:
                raise Superseded("A newer attempt makes this call.")
            await connection.execute(_BEGIN, values | {"attempt": number})
            await _tell_started(connection, call, row, number)
        return _opened(row | {"attempt": number}, None)

    async def end(self, call: CallRef, attempt: int, result: ToolResult) -> CallOutcome:
        """Record what the tool said, once; raises Superseded for an attempt that lost the call."""
        status = CallStatus(result.status)
        async with self._database.transaction(call.run.tenant_id) as connection:
            await _end(connection, call, attempt, status, result.text)
        return CallOutcome(status=status)

    async def fail(self, call: CallRef, attempt: int) -> int:
        """Count a failure of the tool, and return how many there are; raises Superseded for an
        attempt that lost the call."""
        async with self._database.transaction(call.run.tenant_id) as connection:
            row = await one(connection, _FAIL, _values(call) | {"attempt": attempt})
        if row is None:
            raise Superseded(_LOST)
        return int(row["failures"])

    async def settle(self, call: CallRef, status: CallStatus, reason: str) -> CallOutcome:
        """End a call that is not made (again); `reason` is what the model is told."""
        async with self._database.transaction(call.run.tenant_id) as connection:
            row = await one(connection, _LOCK, _values(call))
            if row is not None and row["status"] not in _OVER:
                await _end(connection, call, row["attempt"], status, reason)
        return CallOutcome(status=status)

    async def decision(self, decision: DecisionRef) -> DecisionState:
        """What the record says about a decision."""
        query = f"{_DECISION} AND d.id = %(id)s"
        values = _run_values(decision.run) | {"id": decision.decision_id}
        async with self._database.transaction(decision.run.tenant_id) as connection:
            row = await one(connection, query, values)
        return DecisionState(verdict=Verdict(row["verdict"]) if row and row["verdict"] else None)

    async def decisions(self, run: RunRef) -> list[Decision]:
        """All decisions of a run, as they were asked."""
        query = f"{_DECISION} ORDER BY d.created_at, d.id"
        async with self._database.transaction(run.tenant_id) as connection:
            rows = await many(connection, query, _run_values(run))
        return [Decision.model_validate(row) for row in rows]

    async def of_run(self, run: RunRef) -> list[ToolCallView]:
        """All calls of a run, in their order."""
        async with self._database.transaction(run.tenant_id) as connection:
            rows = await many(connection, _OF_RUN, _run_values(run))
        return [ToolCallView.model_validate(row) for row in rows]

    async def decide(self, caller: Principal, decision: DecisionRef, answer: NewDecision) -> None:
        """Record a person's answer, once; raises as `db.decisions.answer` says."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await decisions.answer(connection, caller, decision, answer)


_OVER = ("ok", "failed", "denied", "abandoned")


async def _settled(
    connection: Connection, call: CallRef, row: dict[str, Any], attempt: int, limit: timedelta
) -> CallOutcome | None:
    """The outcome of a call that needs no making: it is over, or nobody knows if it is."""
    if row["status"] in _OVER:
        return CallOutcome(status=CallStatus(row["status"]))
    begun_before = row["status"] in ("running", "ambiguous") and not (call.again and attempt == 1)
    if not begun_before or row["safety"] != Safety.UNSAFE:
        return None
    # Each ambiguity is a question of its own: the attempt that vanished is part of its id.
    question_id = f"{call.step}-{call.n}-after-{row['attempt']}"
    question = Question(
        id=question_id,
        run=call.run,
        step=call.step,
        n=call.n,
        call=ToolCall(call_id=row["call_id"], name=row["name"], arguments=row["arguments"]),
        reason="ambiguous",
        limit=limit,
    )
    await connection.execute(_STATUS, _values(call) | {"status": "ambiguous"})
    await decisions.ask(connection, question)
    return CallOutcome(status=CallStatus.AMBIGUOUS, decision_id=question_id)


async def _tell_started(
    connection: Connection, call: CallRef, row: dict[str, Any], attempt: int
) -> None:
    data = {"call_id": row["call_id"], "name": row["name"]}
    event = NewEvent(type=EventType.TOOL_STARTED, data=data)
    await event_log.append(connection, call.run, call.step, attempt, [event], fenced=False)


async def _end(
    connection: Connection, call: CallRef, attempt: int, status: CallStatus, text: str
) -> None:
    text = text.replace("\0", "")
    values = _values(call) | {"attempt": attempt, "status": status, "result": text}
    row = await one(connection, _END, values)
    if row is None:
        raise Superseded(_LOST)
    data = {"call_id": row["call_id"], "name": row["name"], "status": status, "result": text}
    event = NewEvent(type=EventType.TOOL_FINISHED, data=data)
    await event_log.append(connection, call.run, call.step, attempt, [event], fenced=False)
    await audit.record(
        connection,
        call.run.tenant_id,
        "agent",
        "tool.called",
        call.run.run_id,
        tool=row["name"],
        status=status,
        step=call.step,
        n=call.n,
    )


def _opened(row: dict[str, Any], settled: CallOutcome | None) -> OpenedCall:
    call = ToolCall(call_id=row["call_id"], name=row["name"], arguments=row["arguments"])
    return OpenedCall(
        settled=settled,
        user_id=row["user_id"],
        call=call,
        safety=row["safety"],
        attempt=row["attempt"],
    )


def _run_values(run: RunRef) -> dict[str, Any]:
    return {"tenant": run.tenant_id, "run": run.run_id}


def _values(call: CallRef) -> dict[str, Any]:
    return _run_values(call.run) | {"step": call.step, "n": call.n}
