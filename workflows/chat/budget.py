"""The steps and the time that a turn may still take; pure, so that it replays as it ran."""

from dataclasses import dataclass
from datetime import timedelta

_SHORTEST = timedelta(seconds=1)


@dataclass(frozen=True)
class NextStep:
    """A step that may be taken: its number, counted from 1, and what the model may do in it."""

    number: int
    may_use_tools: bool
    may_summarise: bool


class StepBudget:
    """Counts a turn's steps and its time.

    In the last step the model has no tools, so that it answers. A prompt may be summed up once
    before it must fit. The time that people take to decide is not spent.
    """

    def __init__(self, max_steps: int, limit: timedelta) -> None:
        self._max_steps = max_steps
        self._limit = limit
        self._spent = timedelta()
        self._summarised = False
        self.taken = 0

    def next_step(self) -> NextStep | None:
        """Take a step; None if none is left."""
        if self.taken >= self._max_steps:
            return None
        self.taken += 1
        may_summarise, self._summarised = not self._summarised, False
        return NextStep(self.taken, self.taken < self._max_steps, may_summarise)

    def next_summary(self) -> int:
        """Take the number of a summary. Neither it nor the step that asked for it counts."""
        self.taken += 1
        self._max_steps += 2
        self._summarised = True
        return self.taken

    def grant_one(self) -> None:
        """Allow one step more."""
        self._max_steps += 1

    def spend(self, time: timedelta) -> None:
        """Count time that the turn has worked."""
        self._spent += time

    def time_is_up(self) -> bool:
        """Return whether all of the time is spent."""
        return self._spent >= self._limit

    def time_left(self) -> timedelta:
        """Return what an activity may take at most; never less than a second."""
        return max(self._limit - self._spent, _SHORTEST)
