"""Chat: threads, messages, and the turn that answers one."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from domain.base import Contract
from domain.models import Completion, PromptMessage, ToolCall
from domain.names import ID_PATTERN
from domain.runs import Outcome, RunRef

MAX_TEXT_BYTES = 64 * 1024
MessageId = Annotated[str, Field(pattern=ID_PATTERN)]


class Policy(StrEnum):
    """What a message does while another turn holds the thread's floor."""

    QUEUE = "queue"  #: waits for its turn
    STEER = "steer"  #: joins the running turn at its next step
    INTERRUPT = "interrupt"  #: stops the running turn, keeps its partial answer, then runs
    REJECT = "reject"  #: is refused with 409


class Thread(Contract):
    """A conversation of one user."""

    id: str
    user_id: str
    title: str
    archived: bool
    created_at: datetime
    updated_at: datetime


class Message(Contract):
    """A message as the API shows it. An answer that was cut short says so in `partial`."""

    id: str
    thread_id: str
    run_id: str
    role: Literal["user", "assistant"]
    text: str
    partial: bool
    tool_calls: list["ToolCallView"]
    created_at: datetime


class ToolCallView(Contract):
    """A tool call as the API shows it; `status` tells truly when nobody knows the outcome."""

    call_id: str
    name: str
    arguments: dict[str, Any]
    status: "CallStatus"
    result: str | None


class CallStatus(StrEnum):
    """Where a tool call is."""

    PENDING = "pending"
    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    DENIED = "denied"
    AMBIGUOUS = "ambiguous"
    ABANDONED = "abandoned"


class Verdict(StrEnum):
    """What a person decided about a tool call."""

    APPROVE = "approve"
    DENY = "deny"


class Decision(Contract):
    """A question to a person. `digest` binds the answer to exactly these arguments."""

    id: str
    run_id: str
    call_id: str
    tool: str
    arguments: dict[str, Any]
    digest: str
    reason: Literal["ask_first", "unsafe", "ambiguous"]
    verdict: Verdict | None
    expires_at: datetime


class TurnInput(Contract):
    """What ChatTurn starts with: ids and limits. The words are in Postgres."""

    run: RunRef
    thread_id: str
    user_id: str
    model: str
    has_floor: bool
    max_steps: int
    limit_seconds: float
    decision_seconds: float
    interrupts: str | None = None


class TurnResult(Contract):
    """How a turn ended."""

    outcome: Outcome
    steps: int


class StepRef(Contract):
    """One step of a turn, counted from 1: one question to the model."""

    run: RunRef
    number: int
    model: str
    may_use_tools: bool = True


class CallVerdict(Contract):
    """A tool call that a step asked for: its place `n` within the step, and whether to ask."""

    n: int
    name: str
    decision_id: str | None = None


class StepVerdict(Contract):
    """What a step came to: a few numbers, never the words.

    `closed`: the answer was final, and the turn was closed in the same transaction; otherwise
    there are calls to make, or a steered message waits for the next step.
    """

    model: str
    input_tokens: int
    output_tokens: int
    calls: tuple[CallVerdict, ...] = ()
    closed: bool = False
    next_run: str | None = None


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


class Attempt(Contract):
    """One attempt at an activity, as Temporal numbers them; `activity_id` is unique in its run."""

    number: int
    activity_id: str


class LostAttempt(Contract):
    """An attempt whose worker is gone."""

    tenant_id: str
    run_id: str
    activity_id: str


class DecisionRef(Contract):
    """A decision of a run, by its id."""

    run: RunRef
    decision_id: str


class DecisionState(Contract):
    """The record of a decision: its verdict, or None while a person has not answered."""

    verdict: Verdict | None


class TurnClosing(Contract):
    """How to close a turn that did not close itself."""

    run: RunRef
    outcome: Outcome
    error_code: str | None = None
    error_detail: str | None = None


class Opening(Contract):
    """What a step starts from. `verdict`: an earlier attempt finished it, nothing is to be done;
    `stale_text`: an earlier attempt's words stand in the log and must be superseded."""

    verdict: StepVerdict | None
    stale_text: bool
    user_id: str
    messages: tuple[PromptMessage, ...]


class PlannedCall(Contract):
    """A tool call to be stored with its step, with the question to ask before it, if any."""

    call: ToolCall
    safety: Literal["safe", "keyed", "unsafe"]
    ask: Literal["ask_first", "unsafe"] | None


class FinishedStep(Contract):
    """All that a step came to, on its way into the database. `rest` was not streamed yet;
    `supersede`: an earlier attempt's words still stand."""

    completion: Completion
    calls: tuple[PlannedCall, ...]
    rest: str
    supersede: bool
    decision_limit: timedelta


class NewMessage(Contract):
    """A message on its way into a thread. `any_thread`: the caller may write in others' threads."""

    tenant_id: str
    user_id: str
    thread_id: str
    message_id: MessageId
    text: str
    policy: Policy
    model: str
    any_thread: bool = False


class TurnPlan(Contract):
    """What the record says about a turn that is to be started."""

    run: RunRef
    thread_id: str
    user_id: str
    model: str
    has_floor: bool
    interrupts: str | None
    finished: bool


class Accepted(Contract):
    """Which run answers a message, and how to start it if it may not have been started."""

    run_id: str
    plan: TurnPlan | None = None


class FloorState(Contract):
    """Whether a turn has the floor; `finished`: it has ended, by somebody else's hand."""

    has_floor: bool
    finished: bool


class Question(Contract):
    """A question to a person about one call, before it becomes a Decision."""

    id: str
    run: RunRef
    step: int
    n: int
    call: ToolCall
    reason: Literal["ask_first", "unsafe", "ambiguous"]
    limit: timedelta


class OpenedCall(Contract):
    """What a call starts from. `settled`: there is nothing to do but report this outcome;
    `attempt`: what fences this one off from earlier ones."""

    settled: CallOutcome | None
    user_id: str
    call: ToolCall
    safety: Literal["safe", "keyed", "unsafe"]
    attempt: int


class NewDecision(Contract):
    """A person's answer; it must carry the digest of the arguments that the person was shown."""

    verdict: Verdict
    digest: str


class CallSettling(Contract):
    """A call that is not made (again), and what the model is told about it."""

    call: CallRef
    status: CallStatus
    reason: str
