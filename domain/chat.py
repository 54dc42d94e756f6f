"""Chat: threads, messages, and the turn that answers one."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from domain.base import Contract
from domain.calls import PlannedCall, ToolCallView
from domain.models import Completion, PromptMessage
from domain.names import ID_PATTERN
from domain.runs import Outcome, RunClosing, RunRef

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
    pinned: bool = False
    tool_calls: list[ToolCallView]
    created_at: datetime


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
    """One step of a turn, counted from 1: one question to the model. `may_summarise`: a prompt
    that is too long is answered with the wish for a summary, not with an error."""

    run: RunRef
    number: int
    model: str
    may_use_tools: bool = True
    may_summarise: bool = False


class CallVerdict(Contract):
    """A tool call that a step asked for: its place `n` within the step, and whether to ask."""

    n: int
    name: str
    decision_id: str | None = None


class StepVerdict(Contract):
    """What a step came to: a few numbers, never the words.

    `closed`: the answer was final, and the turn was closed in the same transaction; otherwise
    there are calls to make, or a steered message waits for the next step. `summarise`: the prompt
    is too long, and nobody was asked. `note`: why this model answered.
    """

    model: str
    input_tokens: int
    output_tokens: int
    calls: tuple[CallVerdict, ...] = ()
    closed: bool = False
    next_run: str | None = None
    degraded: bool = False
    summarise: bool = False
    note: str | None = None


class Attempt(Contract):
    """One attempt at an activity, as Temporal numbers them; `activity_id` is unique in its run."""

    number: int
    activity_id: str


class LostAttempt(Contract):
    """An attempt whose worker is gone."""

    tenant_id: str
    run_id: str
    activity_id: str


class TurnClosing(Contract):
    """How to close a turn that did not close itself."""

    run: RunRef
    outcome: Outcome
    error_code: str | None = None
    error_detail: str | None = None

    @classmethod
    def of(cls, closing: RunClosing) -> "TurnClosing":
        """A turn's closing is that of any run, without a result."""
        return cls.model_validate(closing.model_dump(exclude={"result"}))


class Opening(Contract):
    """What a step starts from. `verdict`: an earlier attempt finished it, nothing is to be done;
    `stale_text`: an earlier attempt's words stand in the log and must be superseded."""

    verdict: StepVerdict | None
    stale_text: bool
    user_id: str
    messages: tuple[PromptMessage, ...]
    summary: str | None = None


class FinishedStep(Contract):
    """All that a step came to, on its way into the database. `rest` was not streamed yet;
    `supersede`: an earlier attempt's words still stand."""

    completion: Completion
    calls: tuple[PlannedCall, ...]
    rest: str
    supersede: bool
    decision_limit: timedelta


class NewSummary(Contract):
    """A summary of all that a thread had before this step's turn. Sizes in tokens."""

    text: str
    prompt_version: str
    tokens_before: int
    tokens_after: int
    completion: Completion


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
    """Whether a turn has the floor, and who has it instead; `finished`: it has ended, by somebody
    else's hand."""

    has_floor: bool
    finished: bool
    holder: str | None = None
