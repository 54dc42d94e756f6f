"""Batches: the activities that open one, cut it into chunks, score a chunk and close it."""

import asyncio
import logging

from temporalio import activity

from activities.runs import attempts
from activities.scoring.ports import BatchStore
from activities.scoring.scorers import Scorers
from domain.errors import PerdureError
from domain.gateway.calls import CallOrigin
from domain.runs.errors import RunCancelled
from domain.runs.runs import RunEnd, RunRef
from domain.scoring.batches import (
    BatchOpening,
    BatchResult,
    ChunkPlan,
    ChunkRef,
    ChunkResult,
    Pausing,
    PlanRef,
)
from domain.scoring.jobs import BatchProgress, Failed, LeadTask, PageDone, Scored, ScoringTask

_log = logging.getLogger(__name__)


class BatchActivities:
    """Activities of batches."""

    def __init__(self, batches: BatchStore, scorers: Scorers) -> None:
        self._batches = batches
        self._scorers = scorers

    @activity.defn
    async def open_batch(self, run: RunRef) -> BatchOpening:
        """Count a batch's leads and mark it as begun; once, however often it is called."""
        return await self._batches.open(run, attempts.current().number)

    @activity.defn
    async def plan_chunks(self, ref: PlanRef) -> ChunkPlan:
        """The next chunks of a batch."""
        return await self._batches.chunks(ref)

    @activity.defn
    async def score_chunk(self, ref: ChunkRef) -> ChunkResult:
        """Score the leads of a chunk, page by page. What is in the record is the place where a
        retry goes on: a page is kept with its counts, or not at all."""
        attempt = attempts.current().number
        done: PageDone | None = None
        after = ref.chunk.after
        while True:
            page = await self._batches.next_page(ref, after, done, again=attempt > 1)
            leads = page.task.leads
            if page.cancelling:
                raise RunCancelled
            if not leads:
                return _result(page.batch)
            if page.batch.paused:
                return _result(page.batch, paused_at=after)
            done, trouble = await self._score(ref, page.task, attempt)
            if trouble is not None:
                # What was answered is paid for: it is kept before this attempt ends.
                progress = await self._batches.keep_page(ref, done)
                if trouble.code != "budget_exceeded":
                    raise trouble
                return _result(progress, over_budget=True)
            after = leads[-1].subject.lead_id

    @activity.defn
    async def note_pause(self, pausing: Pausing) -> None:
        """Write down that a batch rests, or goes on."""
        await self._batches.pause(pausing)

    @activity.defn
    async def close_batch(self, end: RunEnd) -> BatchResult:
        """End a batch, and say what it came to."""
        return await self._batches.close(end)

    async def _score(
        self, ref: ChunkRef, task: ScoringTask, attempt: int
    ) -> tuple[PageDone, PerdureError | None]:
        """What became of a page, and what stops the chunk, if anything does."""
        origin = CallOrigin(
            tenant_id=ref.run.tenant_id,
            user_id=task.user_id,
            feature="score",
            run_id=ref.run.run_id,
            attempt=attempt,
            batch=True,
        )
        if ref.asks:
            asked = (self._score_one(lead, origin) for lead in task.leads)
            found = await asyncio.gather(*asked)
        else:
            found = [await self._in_turn(lead, origin) for lead in task.leads]
        done = PageDone(
            task,
            [score for scores in found if isinstance(scores, list) for score in scores],
            [failure for failure in found if isinstance(failure, Failed)],
        )
        return done, next((error for error in found if isinstance(error, PerdureError)), None)

    async def _in_turn(
        self, lead: LeadTask, origin: CallOrigin
    ) -> list[Scored] | Failed | PerdureError:
        """What only computes would keep heartbeats and other chunks waiting for a whole page."""
        await asyncio.sleep(0)
        return await self._score_one(lead, origin)

    async def _score_one(
        self, lead: LeadTask, origin: CallOrigin
    ) -> list[Scored] | Failed | PerdureError:
        """One bad lead never fails a batch: what goes wrong with it is kept beside the others.
        What is no fault of the lead's is given back as the error that it is."""
        lead_id = lead.subject.lead_id
        try:
            return await self._scorers.score(lead, origin)
        except PerdureError as error:
            if error.retryable or error.code == "budget_exceeded":
                return error
            return Failed(lead_id, error.code, error.detail)
        except Exception as error:  # noqa: BLE001, whatever is wrong with one lead
            _log.exception("lead %s could not be scored", lead_id)
            kind = type(error).__name__
            return Failed(lead_id, "score_failed", f"Scoring failed ({kind}); the log has it.")


def _result(
    batch: BatchProgress, *, paused_at: str | None = None, over_budget: bool = False
) -> ChunkResult:
    return ChunkResult(
        scored=batch.scored, failed=batch.failed, paused_at=paused_at, over_budget=over_budget
    )
