"""Turns: each answers a message, from its acceptance to its result."""

from domain.base import Contract
from domain.chat.threads import MessageId, Policy
from domain.names import Kind
from domain.runs.runs import Outcome, RunRef, RunSpec


class TurnLimits(Contract):
    """Limits of a turn, by the settings of the moment when its message was accepted. The time that
    people take to decide is not the turn's."""

    max_steps: int
    limit_seconds: float
    decision_seconds: float


class NewMessage(Contract):
    """A message on its way into a thread. `any_thread`: the caller may write in others' threads;
    `first_model` is what the route `model` asks first, for whoever looks at the run."""

    tenant_id: str
    user_id: str
    thread_id: str
    message_id: MessageId
    text: str
    policy: Policy
    model: str
    first_model: str
    limits: TurnLimits
    any_thread: bool = False


class TurnInput(TurnLimits):
    """The input of ChatTurn: ids and limits. The words are in Postgres.

    A turn that did not have the floor when it was accepted may have it when it starts: it asks.
    """

    run: RunRef
    thread_id: str
    user_id: str
    model: str
    has_floor: bool
    interrupts: str | None = None


class TurnResult(Contract):
    """The end of a turn."""

    outcome: Outcome
    steps: int


class FloorState(Contract):
    """The floor of a thread as one turn sees it: its own, or another holder's. `finished`: the turn
    has ended, by somebody else's hand."""

    has_floor: bool
    finished: bool
    holder: str | None = None


def spec_of(message: NewMessage, run: RunRef, user_id: str, floor: str | None) -> RunSpec:
    """Return the turn that answers a message in the thread of a user, whose floor another run may
    hold."""
    input = TurnInput(
        run=run,
        thread_id=message.thread_id,
        user_id=user_id,
        model=message.model,
        has_floor=floor is None,
        interrupts=floor if message.policy is Policy.INTERRUPT else None,
        **message.limits.model_dump(),
    )
    return RunSpec(
        run=run,
        kind=Kind.TURN,
        subject_id=message.thread_id,
        user_id=user_id,
        model=message.first_model,
        summary=f"{user_id:.60} asks {message.first_model:.60} in thread {message.thread_id}",
        input=input.model_dump(mode="json"),
    )
