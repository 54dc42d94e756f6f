"""Fakes behind the activities of scoring: scripts for single ones, and a batch in memory."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

from temporalio import activity

from domain.errors import Invalid, PerdureError, Unavailable
from domain.runs.runs import RunRef
from domain.scoring.batches import BatchStart, Chunk, ChunkPlan, ChunkRef, ChunkResult
from tests.workflows.runs import SECONDS, Counter

Asked = TypeVar("Asked")
Result = TypeVar("Result")


class Script(Generic[Asked, Result]):
    """An activity whose endings are written down before it is called, one for each attempt."""

    def __init__(self) -> None:
        self.calls: list[Asked] = []
        self.queues: list[str] = []
        self._called = Counter()
        self._endings: deque[Result | PerdureError | None] = deque()

    def returns(self, result: Result) -> None:
        """Come to this result."""
        self._endings.append(result)

    def fails(self, code: str, *, retryable: bool = False) -> None:
        """Raise an error of this code."""
        self._endings.append(PerdureError("It has failed.", code=code, retryable=retryable))

    def never_returns(self) -> None:
        """Take longer than any test waits."""
        self._endings.append(None)

    async def was_called(self, times: int = 1) -> None:
        """Return once it has been called so often."""
        await self._called.reach(times)

    async def call(self, asked: Asked) -> Result:
        """End as the script says."""
        self.calls.append(asked)
        self.queues.append(activity.info().task_queue)
        await self._called.add()
        ending = self._endings.popleft()
        if ending is None:
            await asyncio.Event().wait()
            raise AssertionError("nobody ends this")
        if isinstance(ending, PerdureError):
            raise ending
        return ending


class Gate:
    """A place where a fake stops, until the test lets it pass."""

    def __init__(self) -> None:
        self._reached, self._open = asyncio.Event(), asyncio.Event()

    async def is_reached(self) -> None:
        """Return once somebody stands there."""
        async with asyncio.timeout(SECONDS):
            await self._reached.wait()

    def let_pass(self) -> None:
        """Open it for good."""
        self._open.set()

    async def pass_through(self) -> None:
        """Stand there until it is open."""
        self._reached.set()
        await self._open.wait()


class FakeBatch:
    """The record of one batch: leads `01`, `02` … in chunks of two."""

    def __init__(self) -> None:
        self.leads: list[str] = []
        self.parallel = 1
        self.chunks_per_plan = 2
        self.calls_models = False
        self.bad_leads: frozenset[str] = frozenset()
        self.unpaid_leads: frozenset[str] = frozenset()
        self.cannot_be_opened = False
        self.scored: list[str] = []
        self.failed: list[str] = []
        self.openings: list[RunRef] = []
        self.chunks: list[Chunk] = []
        self.queues: set[str] = set()
        self.notes: list[tuple[bool, str]] = []
        self._paused = False
        self._attempts_away = 0
        self._planned, self._noted, self._rested = Counter(), Counter(), Counter()
        self._gates: dict[str, Gate] = {}

    def has(self, leads: int, *, parallel: int = 1, chunks_per_plan: int = 2) -> None:
        """Consist of so many leads."""
        self.leads = [f"{number:02}" for number in range(1, leads + 1)]
        self.parallel, self.chunks_per_plan = parallel, chunks_per_plan

    def stops_at(self, place: str) -> Gate:
        """Stop before a lead, or at `note`, when it has written down whether it rests."""
        return self._gates.setdefault(place, Gate())

    def is_away_for(self, attempts: int) -> None:
        """Lack, for so many attempts, what a chunk needs."""
        self._attempts_away = attempts

    async def was_planned(self, times: int = 1) -> None:
        """Return once so many plans were made."""
        await self._planned.reach(times)

    async def has_rested(self) -> None:
        """Return once a chunk has stopped because the batch is paused."""
        await self._rested.reach(1)

    async def was_noted(self, times: int = 1) -> None:
        """Return once it was written down so often whether the batch rests."""
        await self._noted.reach(times)

    def open(self, run: RunRef) -> BatchStart:
        """Begin, or begin anew. Raises Invalid."""
        self.openings.append(run)
        if self.cannot_be_opened:
            raise Invalid("There is no such model.", code="model_unknown")
        return BatchStart(
            total=len(self.leads),
            scored=len(self.scored),
            failed=len(self.failed),
            parallel=self.parallel,
            chunk=2,
            page=1,
            calls_models=self.calls_models,
            finished=not self.leads,
        )

    async def plan(self, after: str) -> ChunkPlan:
        """The next chunks."""
        left = [lead for lead in self.leads if lead > after]
        ends = left[1::2] + left[-1:] * (len(left) % 2)
        starts = [after, *ends]
        chunks = tuple(Chunk(after=a, through=b) for a, b in zip(starts, ends, strict=False))
        planned = chunks[: self.chunks_per_plan]
        await self._planned.add()
        return ChunkPlan(chunks=planned, last=len(planned) == len(chunks))

    async def score(self, ref: ChunkRef) -> ChunkResult:
        """Score a chunk lead by lead, as long as the batch neither rests nor runs out of money."""
        self.chunks.append(ref.chunk)
        self.queues.add(activity.info().task_queue)
        if len(self.chunks) <= self._attempts_away:
            raise Unavailable("The database does not answer.")
        done = ref.chunk.after
        for lead in self.leads:
            if not ref.chunk.after < lead <= ref.chunk.through:
                continue
            if self._paused:
                await self._rested.add()
                return self._result(paused_at=done)
            await self._stop(lead)
            if lead in self.unpaid_leads:
                return self._result(over_budget=True)
            (self.failed if lead in self.bad_leads else self.scored).append(lead)
            done = lead
        return self._result()

    async def note(self, paused: bool, note: str) -> None:
        """Write down whether it rests, and why."""
        self._paused = paused
        self.notes.append((paused, note))
        await self._noted.add()
        await self._stop("note")

    async def _stop(self, place: str) -> None:
        if place in self._gates:
            await self._gates[place].pass_through()

    def _result(self, *, paused_at: str | None = None, over_budget: bool = False) -> ChunkResult:
        return ChunkResult(
            scored=len(self.scored),
            failed=len(self.failed),
            paused_at=paused_at,
            over_budget=over_budget,
        )
