"""Ports of runs: the event log, the record and the engine that runs workflows."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from domain.runs.events import NewEvent
from domain.runs.runs import EndedRun, RunEnd, RunRef, RunSpec


class EventLog(Protocol):
    """The log of a run, fenced by attempt."""

    async def append(
        self,
        run: RunRef,
        step: int,
        attempt: int,
        events: Sequence[NewEvent],
        supersede: bool = False,
    ) -> None:
        """Append events, for the current attempt at a step only. `supersede`: the text that an
        earlier attempt has streamed is taken back first. Raises Superseded, Unavailable."""
        ...


class RunStore(Protocol):
    """The record of runs of every kind."""

    async def accept(self, spec: RunSpec) -> bool:
        """Write a run down; return false if it was accepted before."""
        ...

    async def spec(self, run: RunRef) -> RunSpec | None:
        """Return how to start a run; None for one that is gone or has ended."""
        ...

    async def end(self, end: RunEnd) -> EndedRun:
        """End a run. The first end wins; a later call returns that one."""
        ...


class EngineState(StrEnum):
    """The state of a run's workflow in Temporal."""

    OPEN = "open"
    UNKNOWN = "unknown"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"


class Engine(Protocol):
    """Temporal, as far as a run is concerned. Raises TemporalUnavailable."""

    async def start(self, spec: RunSpec) -> None:
        """Start a run's workflow; starting it again changes nothing."""
        ...

    async def wake(self, spec: RunSpec) -> None:
        """Start a run's workflow, or let it look again for what it waits for."""
        ...

    async def state(self, run: RunRef) -> EngineState:
        """Return what Temporal knows of a run; UNKNOWN if it never heard of it, or forgot it."""
        ...
