"""Tool calls: planned by a step, made once, each with a status that is true."""

from enum import StrEnum
from typing import Any, Literal

from domain.base import Contract
from domain.gateway.completions import ToolCall
from domain.runs.runs import RunRef


class CallStatus(StrEnum):
    """The states of a tool call; after `pending` and `running` they are final, but `ambiguous`."""

    PENDING = "pending"
    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    DENIED = "denied"
    AMBIGUOUS = "ambiguous"
    ABANDONED = "abandoned"


class ToolCallView(Contract):
    """A tool call as the API shows it; `ambiguous` where nobody knows whether it acted."""

    call_id: str
    name: str
    arguments: dict[str, Any]
    status: CallStatus
    result: str | None


class CallRef(Contract):
    """Call `n` of a step, counted from 0; `again` after a person allowed a repetition."""

    run: RunRef
    step: int
    n: int
    again: bool = False


class CallOutcome(Contract):
    """The status that a call has come to, and the decision that must be made before it goes on."""

    status: CallStatus
    decision_id: str | None = None


class PlannedCall(Contract):
    """A tool call to be stored with its step, with the question to ask before it, if any."""

    call: ToolCall
    safety: Literal["safe", "keyed", "unsafe", "unknown"]
    ask: Literal["ask_first", "unsafe"] | None


class OpenedCall(Contract):
    """A call that this attempt may make now; `attempt` fences it off from earlier ones."""

    user_id: str
    call: ToolCall
    safety: Literal["safe", "keyed", "unsafe", "unknown"]
    attempt: int


class SkippedCall(Contract):
    """A call that is not made (again), and the reason that the model gets as its result."""

    call: CallRef
    status: CallStatus
    reason: str
