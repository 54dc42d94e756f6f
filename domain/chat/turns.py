"""Turns: what answers a message, from the workflow's input to its ending."""

from domain.base import Contract
from domain.runs.runs import Outcome, RunEnd, RunRef


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


class TurnClosing(Contract):
    """How to close a turn that did not close itself."""

    run: RunRef
    outcome: Outcome
    error_code: str | None = None
    error_detail: str | None = None

    @classmethod
    def of(cls, closing: RunEnd) -> "TurnClosing":
        """A turn's closing is that of any run, without a result."""
        return cls.model_validate(closing.model_dump(exclude={"result"}))


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
