"""What turns need: their record and that of their steps."""

from typing import Protocol

from domain.chat.steps import FinishedStep, NewSummary, Opening, StepRef, StepVerdict
from domain.runs.attempts import Attempt
from domain.runs.runs import RunRef


class TurnStore(Protocol):
    """Turns and the floors of their threads."""

    async def floor_holder(self, run: RunRef) -> str | None: ...


class StepStore(Protocol):
    """The steps of turns."""

    async def begin(self, step: StepRef, attempt: Attempt, size: int) -> Opening: ...

    async def finish(self, step: StepRef, attempt: int, finished: FinishedStep) -> StepVerdict: ...

    async def defer(self, step: StepRef, attempt: int) -> StepVerdict:
        """End a step before it has asked: its prompt must be summarised first."""
        ...

    async def summarise(self, step: StepRef, attempt: int, summary: NewSummary) -> StepVerdict:
        """Store a summary as the outcome of a step of its own."""
        ...
