"""Batches: the activities that open one, plan its chunks, score a chunk, and close it."""

import asyncio
import logging

from temporalio import activity

from activities.runs import attempts
from activities.scoring.ports import BatchStore
from activities.scoring.scorers import Scorers
from domain.errors import PerdureError
from domain.gateway.calls import CallOrigin
from domain.gateway.errors import BudgetExceeded
from domain.runs.errors import RunCancelled
from domain.runs.runs import RunEnd, RunRef
from domain.scoring.batches import (
    BatchPause,
    BatchResult,
    BatchStart,
    ChunkPlan,
    ChunkRef,
    ChunkResult,
    PlanRef,
)
from domain.scoring.errors import ScoreFailed
from domain.scoring.jobs import (
    BatchProgress,
    LeadJob,
    NewFailure,
    NewScore,
    ScoredPage,
    ScoringJob,
)

_log = logging.getLogger(__name__)


class BatchActivities:
    """Activities of batches."""

    def __init__(self, batches: BatchStore, scorers: Scorers) -> None:
        self._batches = batches
        self._scorers = scorers

    @activity.defn
    async def open_batch(self, input: RunRef) -> BatchStart:
        """Count a batch's leads and begin it; once, however often it is called."""
        return await self._batches.open(input, attempts.current().number)

    @activity.defn
    async def plan_chunks(self, input: PlanRef) -> ChunkPlan:
        """Plan the next chunks of a batch."""
        return await self._batches.chunks(input)

    @activity.defn
    async def score_chunk(self, input: ChunkRef) -> ChunkResult:
        """Score the leads of a chunk, page by page. A page is stored with its counts, or not at
        all, so that a retry goes on behind the last one.

        Raises RunCancelled, RunFinished, ModelFailed.
        """
        attempt = attempts.current().number
        scored: ScoredPage | None = None
        after = input.chunk.after
        while True:
            page = await self._batches.next_page(input, after, scored, again=attempt > 1)
            leads = page.job.leads
            if page.cancelling:
                raise RunCancelled(run_id=input.run.run_id)
            if not leads:
                return _result(page.batch)
            if page.batch.paused:
                return _result(page.batch, paused_at=after)
            scored, failure = await self._score(input, page.job, attempt)
            if failure is not None:
                # The answers are paid for: they are stored before this attempt ends.
                progress = await self._batches.store_page(input, scored)
                if not isinstance(failure, BudgetExceeded):
                    raise failure
                return _result(progress, over_budget=True)
            after = leads[-1].subject.lead_id

    @activity.defn
    async def note_pause(self, input: BatchPause) -> None:
        """Record that a batch is paused or resumed."""
        await self._batches.pause(input)

    @activity.defn
    async def close_batch(self, input: RunEnd) -> BatchResult:
        """End a batch; return its outcome and counts."""
        return await self._batches.close(input)

    async def _score(
        self, ref: ChunkRef, job: ScoringJob, attempt: int
    ) -> tuple[ScoredPage, PerdureError | None]:
        """Score a page; return its results, and the error that stops the chunk, if any does."""
        origin = _origin(ref, job, attempt)
        if ref.calls_models:
            results = await asyncio.gather(*(self._score_lead(lead, origin) for lead in job.leads))
        else:
            results = [await self._score_in_turn(lead, origin) for lead in job.leads]
        page = ScoredPage(
            job,
            [score for scores in results if isinstance(scores, list) for score in scores],
            [failure for failure in results if isinstance(failure, NewFailure)],
        )
        return page, next((each for each in results if isinstance(each, PerdureError)), None)

    async def _score_in_turn(
        self, lead: LeadJob, origin: CallOrigin
    ) -> list[NewScore] | NewFailure | PerdureError:
        """Score a lead after everybody else on the loop: mere computation would keep heartbeats
        and other chunks waiting for a whole page."""
        await asyncio.sleep(0)
        return await self._score_lead(lead, origin)

    async def _score_lead(
        self, lead: LeadJob, origin: CallOrigin
    ) -> list[NewScore] | NewFailure | PerdureError:
        """Score a lead. One bad lead never fails a batch: its failure is a result like any other.
        An error that is no fault of the lead's is returned as it is."""
        lead_id = lead.subject.lead_id
        try:
            return await self._scorers.score(lead, origin)
        except PerdureError as error:
            if error.retryable or isinstance(error, BudgetExceeded):
                return error
            return NewFailure(lead_id, error.code, error.detail)
        except Exception as error:  # noqa: BLE001, whatever is wrong with one lead
            _log.exception("lead %s could not be scored", lead_id)
            kind = type(error).__name__
            return NewFailure(
                lead_id, ScoreFailed.code, f"Scoring failed ({kind}); the log has it."
            )


def _result(
    batch: BatchProgress, *, paused_at: str | None = None, over_budget: bool = False
) -> ChunkResult:
    return ChunkResult(
        scored=batch.scored, failed=batch.failed, paused_at=paused_at, over_budget=over_budget
    )


def _origin(ref: ChunkRef, job: ScoringJob, attempt: int) -> CallOrigin:
    return CallOrigin(
        tenant_id=ref.run.tenant_id,
        user_id=job.user_id,
        feature="score",
        run_id=ref.run.run_id,
        attempt=attempt,
        batch=True,
    )
