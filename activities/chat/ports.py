"""Ports of turns: their record and that of their steps."""

from typing import Protocol

from domain.chat.steps import FinishedStep, NewSummary, StepRef, StepStart, StepVerdict
from domain.runs.attempts import Attempt
from domain.runs.runs import RunRef


class TurnStore(Protocol):
    """Turns and the floors of their threads."""

    async def floor_holder(self, run: RunRef) -> str | None:
        """Return who has the floor of this run's thread; None if the run is gone or has ended."""
        ...


class StepStore(Protocol):
    """The steps of turns."""

    async def begin(self, step: StepRef, attempt: Attempt, size: int) -> StepVerdict | StepStart:
        """Take the step for this attempt and load the conversation, at most `size` characters; or
        return the verdict that an earlier attempt has stored.

        Raises RunUnknown, RunFinished, RunCancelled, and Superseded when a newer attempt has it.
        """
        ...

    async def finish(self, step: StepRef, attempt: int, finished: FinishedStep) -> StepVerdict:
        """Store the step with its calls and questions; an answer without calls ends the turn.

        Raises Superseded, RunUnknown.
        """
        ...

    async def defer(self, step: StepRef, attempt: int) -> StepVerdict:
        """End a step before it asks the model: its prompt must be summarised first."""
        ...

    async def summarise(self, step: StepRef, attempt: int, summary: NewSummary) -> StepVerdict:
        """Store a summary as the outcome of a step of its own."""
        ...
