"""Tool calls: made behind a fence, recorded once."""

from datetime import timedelta
from typing import Any

from db.identity import audit
from db.runs import events as event_log
from db.runs.leases import Lease
from db.session import Connection, Database, many, one
from db.tools import decisions
from domain import names
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

_OVER = ("ok", "failed", "denied", "abandoned")
_CALL = "tenant_id = %(tenant)s AND run_id = %(run)s AND step = %(step)s AND n = %(n)s"
_LOST = "A newer attempt makes this call, or it is over."
_DECISIONS = """
SELECT d.id, d.run_id, d.digest, d.reason, d.verdict, d.expires_at, c.call_id, c.name AS tool,
    c.arguments
FROM decisions d JOIN tool_calls c
  ON c.tenant_id = d.tenant_id AND c.run_id = d.run_id AND c.step = d.step AND c.n = d.n
WHERE d.tenant_id = %(tenant)s AND d.run_id = %(run)s"""


class ToolCalls:
    """The tool calls of steps, and the decisions about them."""

    def __init__(self, database: Database, lease: Lease | None = None) -> None:
        self._database = database
        self._lease = lease

    async def begin(
        self, call: CallRef, attempt: Attempt, limit: timedelta
    ) -> CallOutcome | OpenedCall:
        """Take a call for this attempt, or return the outcome of one that needs no making.

        An unsafe call that an earlier attempt had begun is not begun again: nobody knows whether it
        acted, so a person is asked within `limit`. Raises Superseded when a newer attempt has the
        call, or the run has ended.
        """
        async with self._database.transaction(call.run.tenant_id) as connection:
            row = await _lock(connection, call)
            if row is None or row["run_over"]:
                raise Superseded("This run has ended, or is being cancelled.")
            if outcome := await _outcome(connection, call, row, attempt.number, limit):
                return outcome
            number = row["attempt"] + 1 if call.again else attempt.number
            if row["attempt"] > number:
                raise Superseded("A newer attempt makes this call.")
            await _begin(connection, call, attempt.activity_id, number, self._lease)
            await _append_started(connection, call, row, number)
        return OpenedCall(
            user_id=row["user_id"], call=_tool_call(row), safety=row["safety"], attempt=number
        )

    async def fail(self, call: CallRef, attempt: int) -> int:
        """Count a failure of the tool, and return how many there are.

        Raises Superseded for an attempt that lost the call.
        """
        async with self._database.transaction(call.run.tenant_id) as connection:
            return await _fail(connection, call, attempt)

    async def end(self, call: CallRef, attempt: int, result: ToolResult) -> CallOutcome:
        """Record a tool's result, once; raises Superseded for an attempt that lost the call."""
        status = CallStatus(result.status)
        async with self._database.transaction(call.run.tenant_id) as connection:
            await _end(connection, call, attempt, status, result.text)
        return CallOutcome(status=status)

    async def skip(self, call: CallRef, status: CallStatus, reason: str) -> CallOutcome:
        """End a call that is not made (again); the model gets `reason` as its result."""
        async with self._database.transaction(call.run.tenant_id) as connection:
            row = await _lock(connection, call)
            if row is not None and row["status"] not in _OVER:
                await _end(connection, call, row["attempt"], status, reason)
        return CallOutcome(status=status)

    async def decision(self, decision: DecisionRef) -> DecisionState:
        """Return the recorded verdict of a decision."""
        async with self._database.transaction(decision.run.tenant_id) as connection:
            row = await _decision(connection, decision)
        return DecisionState(verdict=Verdict(row["verdict"]) if row and row["verdict"] else None)

    async def decisions(self, run: RunRef) -> list[Decision]:
        """Return all decisions of a run, in the order of their questions."""
        async with self._database.transaction(run.tenant_id) as connection:
            rows = await _decisions_of(connection, run)
        return [Decision.model_validate(row) for row in rows]

    async def of_run(self, run: RunRef) -> list[ToolCallView]:
        """Return all calls of a run, in their order."""
        async with self._database.transaction(run.tenant_id) as connection:
            rows = await _calls_of(connection, run)
        return [ToolCallView.model_validate(row) for row in rows]

    async def decide(self, caller: Principal, decision: DecisionRef, answer: NewDecision) -> None:
        """Record a person's answer, once.

        Raises DecisionUnknown, DecisionMade, DecisionExpired, RunFinished, ArgumentsChanged.
        """
        async with self._database.transaction(caller.tenant_id) as connection:
            await decisions.answer(connection, caller, decision, answer)


_LOCK = """
-- A call with the state of its run. Locks the call's row, so that one attempt at a time decides.
SELECT c.call_id, c.name, c.arguments, c.safety, c.status, c.attempt, r.user_id,
    r.finished_at IS NOT NULL OR r.cancelling AS run_over
FROM tool_calls c JOIN runs r ON r.tenant_id = c.tenant_id AND r.id = c.run_id
WHERE c.tenant_id = %(tenant)s AND c.run_id = %(run)s AND c.step = %(step)s AND c.n = %(n)s
FOR UPDATE OF c
"""


async def _lock(connection: Connection, call: CallRef) -> dict[str, Any] | None:
    return await one(connection, _LOCK, _key(call))


async def _outcome(
    connection: Connection, call: CallRef, row: dict[str, Any], attempt: int, limit: timedelta
) -> CallOutcome | None:
    """Return the outcome of a call that needs no making: it is over, or nobody knows if it is."""
    if row["status"] in _OVER:
        return CallOutcome(status=CallStatus(row["status"]))
    begun_before = row["status"] in ("running", "ambiguous") and not (call.again and attempt == 1)
    if not begun_before or row["safety"] != Safety.UNSAFE:
        return None
    # Each ambiguity is a question of its own: the attempt that vanished is part of its id.
    question = Question(
        id=names.repeat_decision_id(call.step, call.n, row["attempt"]),
        run=call.run,
        step=call.step,
        n=call.n,
        call=_tool_call(row),
        reason="ambiguous",
        limit=limit,
    )
    await _mark_ambiguous(connection, call)
    await decisions.ask(connection, question)
    return CallOutcome(status=CallStatus.AMBIGUOUS, decision_id=question.id)


_MARK_AMBIGUOUS = f"""
-- Nobody knows whether the call has acted; the caller has locked its row.
UPDATE tool_calls SET status = 'ambiguous' WHERE {_CALL}
"""


async def _mark_ambiguous(connection: Connection, call: CallRef) -> None:
    await connection.execute(_MARK_AMBIGUOUS, _key(call))


_BEGIN = f"""
-- The call is made by this attempt from now on; the caller has locked its row.
UPDATE tool_calls SET status = 'running', attempt = %(attempt)s, worker = %(worker)s,
    activity_id = %(activity)s, failures = CASE WHEN %(again)s THEN 0 ELSE failures END
WHERE {_CALL}
"""


async def _begin(
    connection: Connection, call: CallRef, activity_id: str, attempt: int, lease: Lease | None
) -> None:
    values = {
        "attempt": attempt,
        "worker": lease.key if lease else None,
        "activity": activity_id,
        # A repetition that a person has allowed may fail as often as the first call.
        "again": call.again,
    }
    await connection.execute(_BEGIN, _key(call) | values)


async def _append_started(
    connection: Connection, call: CallRef, row: dict[str, Any], attempt: int
) -> None:
    data = {"call_id": row["call_id"], "name": row["name"]}
    event = NewEvent(type=EventType.TOOL_STARTED, data=data)
    await event_log.append(connection, call.run, call.step, attempt, [event], fenced=False)


_FAIL = f"""
-- One failure more of the attempt that makes the call. Locks its row.
UPDATE tool_calls SET failures = failures + 1
WHERE {_CALL} AND attempt = %(attempt)s AND finished_at IS NULL
RETURNING failures
"""


async def _fail(connection: Connection, call: CallRef, attempt: int) -> int:
    row = await one(connection, _FAIL, _key(call) | {"attempt": attempt})
    if row is None:
        raise Superseded(_LOST)
    return int(row["failures"])


_END = f"""
-- The first ending of a call counts, and only that of its current attempt. Locks its row.
UPDATE tool_calls SET status = %(status)s, result = %(result)s, finished_at = now()
WHERE {_CALL}
  AND attempt = %(attempt)s AND finished_at IS NULL
RETURNING call_id, name
"""


async def _end(
    connection: Connection, call: CallRef, attempt: int, status: CallStatus, text: str
) -> None:
    text = text.replace("\0", "")
    values = {"attempt": attempt, "status": status, "result": text}
    row = await one(connection, _END, _key(call) | values)
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


_DECISION = f"""
-- One decision of a run, with its call; locks nothing.{_DECISIONS} AND d.id = %(id)s
"""


async def _decision(connection: Connection, decision: DecisionRef) -> dict[str, Any] | None:
    return await one(connection, _DECISION, decision.run.key | {"id": decision.decision_id})


_DECISIONS_OF = f"""
-- All decisions of a run in the order of their questions; locks nothing.{_DECISIONS}
ORDER BY d.created_at, d.id
"""


async def _decisions_of(connection: Connection, run: RunRef) -> list[dict[str, Any]]:
    return await many(connection, _DECISIONS_OF, run.key)


_CALLS_OF = """
-- All calls of a run in their order; locks nothing.
SELECT call_id, name, arguments, status, result FROM tool_calls
WHERE tenant_id = %(tenant)s AND run_id = %(run)s ORDER BY step, n
"""


async def _calls_of(connection: Connection, run: RunRef) -> list[dict[str, Any]]:
    return await many(connection, _CALLS_OF, run.key)


def _tool_call(row: dict[str, Any]) -> ToolCall:
    return ToolCall(call_id=row["call_id"], name=row["name"], arguments=row["arguments"])


def _key(call: CallRef) -> dict[str, Any]:
    return call.run.key | {"step": call.step, "n": call.n}
