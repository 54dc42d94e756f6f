"""What every run needs: the event log, its record and the engine that runs workflows."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from domain.chat.turns import TurnPlan
from domain.runs.events import NewEvent
from domain.runs.runs import Closed, RunEnd, RunRef, RunSpec


class EventLog(Protocol):
    """The log of a run, fenced by attempt."""

    async def append(
        self,
        run: RunRef,
        step: int,
        attempt: int,
        events: Sequence[NewEvent],
        supersede: bool = False,
    ) -> None: ...


class RunStore(Protocol):
    """Runs that need no more than a row, an input and an ending."""

    async def plan(self, run: RunRef) -> RunSpec | None:
        """How to start a run; None for one that is gone, has begun or has ended."""
        ...

    async def close(self, closing: RunEnd) -> Closed:
        """End a run. The first ending wins; a later call gives that one back."""
        ...


class EngineState(StrEnum):
    """What Temporal knows of a run's workflow."""

    OPEN = "open"
    UNKNOWN = "unknown"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"


class Engine(Protocol):
    """Temporal, as far as a run is concerned. Raises Unavailable when it does not answer."""

    async def start_turn(self, plan: TurnPlan) -> None:
        """Start the turn's workflow; starting it again changes nothing."""
        ...

    async def start(self, launch: RunSpec) -> None:
        """Start the workflow of another run; starting it again changes nothing."""
        ...

    async def state(self, run: RunRef) -> EngineState: ...

    async def give_floor(self, run: RunRef) -> None:
        """Wake a waiting turn up: the floor is its own now."""
        ...
