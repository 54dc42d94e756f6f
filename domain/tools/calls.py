"""Tool calls: planned by a step, made once, each with a known ending."""

from enum import StrEnum
from typing import Any, Literal

from domain.base import Contract
from domain.gateway.completions import ToolCall
from domain.runs.runs import RunRef


class CallStatus(StrEnum):
    """Where a tool call is."""

    PENDING = "pending"
    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    DENIED = "denied"
    AMBIGUOUS = "ambiguous"
    ABANDONED = "abandoned"


class ToolCallView(Contract):
    """A tool call as the API shows it; `status` tells truly when nobody knows the outcome."""

    call_id: str
    name: str
    arguments: dict[str, Any]
    status: CallStatus
    result: str | None


class CallRef(Contract):
    """One tool call of a step, by its place; `again` after a person allowed a repetition."""

    run: RunRef
    step: int
    n: int
    again: bool = False


class CallOutcome(Contract):
    """How a call ended, or the question that must be answered first."""

    status: CallStatus
    decision_id: str | None = None


class PlannedCall(Contract):
    """A tool call to be stored with its step, with the question to ask before it, if any."""

    call: ToolCall
    safety: Literal["safe", "keyed", "unsafe", "unknown"]
    ask: Literal["ask_first", "unsafe"] | None


class OpenedCall(Contract):
    """What a call starts from. `settled`: there is nothing to do but report this outcome;
    `attempt`: what fences this one off from earlier ones."""

    settled: CallOutcome | None
    user_id: str
    call: ToolCall
    safety: Literal["safe", "keyed", "unsafe", "unknown"]
    attempt: int


class CallSettling(Contract):
    """A call that is not made (again), and what the model is told about it."""

    call: CallRef
    status: CallStatus
    reason: str
