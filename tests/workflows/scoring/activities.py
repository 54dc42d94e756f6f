"""The activities of scoring by their real names, on fakes."""

from temporalio import activity

from domain.runs.runs import EndedRun, Outcome, RunEnd, RunRef, RunSpec
from domain.scoring.batches import (
    BatchPause,
    BatchResult,
    BatchStart,
    ChunkPlan,
    ChunkRef,
    ChunkResult,
    PlanRef,
)
from domain.scoring.checks import CheckRef, CheckResult
from domain.scoring.scores import ScoreInput, ScoreResult
from domain.scoring.trainings import TrainingInput, TrainingResult
from tests.workflows.scoring.fakes import FakeBatch, Script


class FakeActivities:
    """What runs of scoring do to a world that is only in memory. The first ending wins."""

    def __init__(self) -> None:
        self.scorer: Script[ScoreInput, ScoreResult] = Script()
        self.shadows: Script[ScoreInput, int] = Script()
        self.learner: Script[TrainingInput, TrainingResult] = Script()
        self.checker: Script[CheckRef, CheckResult] = Script()
        self.batch = FakeBatch()
        self.endings: dict[str, RunEnd] = {}
        self.accepted: list[RunSpec] = []

    @activity.defn
    async def score_lead(self, input: ScoreInput) -> ScoreResult:
        return await self.scorer.call(input)

    @activity.defn
    async def score_shadows(self, input: ScoreInput) -> int:
        return await self.shadows.call(input)

    @activity.defn
    async def train_model(self, training: TrainingInput) -> TrainingResult:
        return await self.learner.call(training)

    @activity.defn
    async def check_scores(self, ref: CheckRef) -> CheckResult:
        return await self.checker.call(ref)

    @activity.defn
    async def accept_run(self, spec: RunSpec) -> None:
        self.accepted.append(spec)

    @activity.defn
    async def close_run(self, end: RunEnd) -> EndedRun:
        first = self.endings.setdefault(end.run.run_id, end)
        return EndedRun(outcome=first.outcome)

    @activity.defn
    async def open_batch(self, run: RunRef) -> BatchStart:
        return self.batch.open(run)

    @activity.defn
    async def plan_chunks(self, ref: PlanRef) -> ChunkPlan:
        return await self.batch.plan(ref.after)

    @activity.defn
    async def score_chunk(self, ref: ChunkRef) -> ChunkResult:
        return await self.batch.score(ref)

    @activity.defn
    async def note_pause(self, pausing: BatchPause) -> None:
        await self.batch.note(pausing.paused, pausing.note)

    @activity.defn
    async def close_batch(self, end: RunEnd) -> BatchResult:
        first = self.endings.setdefault(end.run.run_id, end)
        scored, failed = len(self.batch.scored), len(self.batch.failed)
        outcome = first.outcome
        if outcome is Outcome.COMPLETED and failed:
            outcome = Outcome.COMPLETED_WITH_ERRORS
        return BatchResult(outcome=outcome, scored=scored, failed=failed)
