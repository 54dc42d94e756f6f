"""Scoring on a bare Temporal, whose activities are fakes."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Self
from uuid import uuid4

from domain import names
from domain.names import Kind, TaskQueue
from domain.runs.runs import RunRef, RunSpec
from domain.scoring.batches import BatchInput, BatchResult
from domain.scoring.checks import CheckInput, CheckResult
from domain.scoring.scores import ScoreInput, ScoreResult
from domain.scoring.trainings import TrainingInput, TrainingRequest, TrainingResult
from tests.workflows.runs import TENANT, Activities, Run, Runs, working
from tests.workflows.scoring.activities import FakeActivities
from workflows.scoring.batches import LeadBatch
from workflows.scoring.checks import ScoreCheck
from workflows.scoring.scores import LeadScore
from workflows.scoring.trainings import ModelTraining


class ScoringHarness(FakeActivities):
    """A tenant whose scores, batches, trainings and checks a test starts, and what they meet.

    A workflow has its worker when its first run is started.
    """

    def __init__(self, temporal: str) -> None:
        super().__init__()
        self._temporal = temporal
        self._workers = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._workers.aclose()

    async def score(self, **more: Any) -> Run[ScoreResult]:
        """Start to score a lead."""
        runs = await self._worker(LeadScore, self.score_lead, self.score_shadows)
        run = _run(Kind.SCORE)
        asked = ScoreInput(run=run, lead_id="lead-1", user_id="ann")
        return await runs.start(LeadScore.run, run.run_id, asked, **more)

    async def score_many(self, spec: RunSpec | None = None, **more: Any) -> Run[BatchResult]:
        """Start a batch of the leads that the record has for it, as a schedule by its `spec`."""
        runs = await self._worker(
            LeadBatch,
            *(self.open_batch, self.plan_chunks, self.score_chunk),
            *(self.note_pause, self.close_batch, self.accept_run),
            **{TaskQueue.BATCH_CALLS: [self.score_chunk]},
        )
        asked = BatchInput(tenant_id=TENANT, user_id="ann", spec=spec)
        return await runs.start(LeadBatch.run, _run(Kind.BATCH).run_id, asked, **more)

    async def learn(self, **more: Any) -> Run[TrainingResult]:
        """Start a training."""
        runs = await self._worker(ModelTraining, **{TaskQueue.LEARNING: [self.train_model]})
        run = _run(Kind.TRAINING)
        asked = TrainingInput(run=run, user_id="ann", request=TrainingRequest(name="fit"))
        return await runs.start(ModelTraining.run, run.run_id, asked, **more)

    async def check(self, spec: RunSpec | None = None, **more: Any) -> Run[CheckResult]:
        """Start to look at the scores of the last days, as a schedule by its `spec`."""
        runs = await self._worker(ScoreCheck, self.check_scores, self.accept_run)
        asked = CheckInput(tenant_id=TENANT, user_id="ann", spec=spec)
        return await runs.start(ScoreCheck.run, _run(Kind.CHECK).run_id, asked, **more)

    async def _worker(
        self, workflow: type, *activities: Callable[..., Any], **others: Activities
    ) -> Runs:
        worker = working(self._temporal, [workflow], [*activities, self.close_run], **others)
        return await self._workers.enter_async_context(worker)


def _run(kind: Kind) -> RunRef:
    return RunRef(tenant_id=TENANT, run_id=names.run_id(kind, uuid4().hex[:12]))
