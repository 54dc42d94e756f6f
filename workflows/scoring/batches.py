"""Batches: many leads in chunks, a few at a time, pausable, and as long as it takes."""

import asyncio
from collections import deque

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.scoring.batches import BatchActivities
    from domain import names
    from domain.runs.runs import Outcome, RunEnd, RunRef
    from domain.scoring.batches import (
        BatchInput,
        BatchOpening,
        BatchResult,
        Chunk,
        ChunkRef,
        Pausing,
        PlanRef,
    )
    from workflows import endings, policy

_PLANS_PER_HISTORY = 10


@workflow.defn(name=names.WorkflowType.LEAD_BATCH)
class LeadBatch:
    """Score many leads. It never fails: failures of leads are rows, other failures an outcome."""

    @workflow.init
    def __init__(self, input: BatchInput) -> None:
        self._run = RunRef.of_workflow(workflow.info().workflow_id)
        self._input = input
        self._paused = input.paused
        self._noting = asyncio.Lock()
        self._over_budget = False
        self._total = self._scored = self._failed = 0

    @workflow.signal
    async def pause(self, note: str = "") -> None:
        """Begin no further page, until `resume`."""
        self._paused = True
        await self._note(note)

    @workflow.signal
    async def resume(self) -> None:
        """Go on."""
        self._paused = False
        await self._note("")

    @workflow.run
    async def run(self, input: BatchInput) -> BatchResult:
        try:
            run = await endings.accept_run(input)
            end = RunEnd(run=run, outcome=await self._score(input))
        except (asyncio.CancelledError, FailureError) as error:
            end = endings.end_of(self._run, error)
        result = await workflow.execute_local_activity_method(
            BatchActivities.close_batch, end, **policy.STORE
        )
        endings.set_outcome_attribute(result.outcome)
        return result

    async def _score(self, input: BatchInput) -> Outcome:
        opening = await workflow.execute_activity_method(
            BatchActivities.open_batch,
            self._run,
            summary="count the leads",
            **policy.BATCH,
        )
        self._total = opening.total
        self._reach(opening.scored, opening.failed)
        if opening.finished:
            return Outcome.COMPLETED
        cursor, plans = input.cursor, 0
        while True:
            plan = await workflow.execute_activity_method(
                BatchActivities.plan_chunks,
                PlanRef(run=self._run, after=cursor, chunk=opening.chunk),
                summary=f"chunks behind {cursor or 'the start'}",
                **policy.BATCH,
            )
            await self._work(deque(plan.chunks), opening)
            if self._over_budget:
                return Outcome.BUDGET_EXCEEDED
            if plan.last:
                return Outcome.COMPLETED
            cursor, plans = plan.chunks[-1].upto, plans + 1
            suggested = workflow.info().is_continue_as_new_suggested()
            if suggested or plans == _PLANS_PER_HISTORY:
                await self._begin_anew(cursor)

    async def _work(self, chunks: deque[Chunk], opening: BatchOpening) -> None:
        await asyncio.gather(*(self._take(chunks, opening) for _ in range(opening.parallel)))

    async def _take(self, chunks: deque[Chunk], opening: BatchOpening) -> None:
        """One of the few that score chunk after chunk. The rest of a chunk that was paused comes
        before all others."""
        while chunks and not self._over_budget:
            await workflow.wait_condition(lambda: not self._paused)
            if not chunks:
                return
            chunk = chunks.popleft()
            result = await workflow.execute_activity_method(
                BatchActivities.score_chunk,
                ChunkRef(run=self._run, chunk=chunk, size=opening.page, asks=opening.asks),
                summary=f"leads up to {chunk.upto}",
                task_queue=names.TaskQueue.BATCH_CALLS if opening.asks else None,
                **policy.BATCH,
            )
            self._reach(result.scored, result.failed)
            self._over_budget |= result.over_budget
            if result.paused_at is not None:
                chunks.appendleft(Chunk(after=result.paused_at, upto=chunk.upto))
                await self._until_noted()
            self._report()

    async def _until_noted(self) -> None:
        """The record may still say that the batch rests, or that it does not."""
        async with self._noting:
            return

    async def _note(self, note: str) -> None:
        """Signals may come faster than the record is written: it follows the latest."""
        async with self._noting:
            await workflow.execute_local_activity_method(
                BatchActivities.note_pause,
                Pausing(run=self._run, paused=self._paused, note=note),
                **policy.STORE,
            )
        self._report()

    async def _begin_anew(self, cursor: str) -> None:
        await workflow.wait_condition(workflow.all_handlers_finished)
        update = {"cursor": cursor, "paused": self._paused, "spec": None}
        workflow.continue_as_new(self._input.model_copy(update=update))

    def _reach(self, scored: int, failed: int) -> None:
        """Chunks that run beside each other report in any order."""
        self._scored, self._failed = max(self._scored, scored), max(self._failed, failed)

    def _report(self) -> None:
        state = "Paused. " if self._paused else ""
        failed = f", {self._failed:,} failed" if self._failed else ""
        workflow.set_current_details(
            f"{state}{self._scored:,} of {self._total:,} leads scored{failed}."
        )
