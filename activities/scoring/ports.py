"""Ports of scoring: the stores and the learner that its activities need."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from domain.runs.attempts import Attempt
from domain.runs.runs import RunEnd, RunRef
from domain.scoring.batches import (
    BatchPause,
    BatchResult,
    BatchStart,
    ChunkPlan,
    ChunkRef,
    PlanRef,
)
from domain.scoring.checks import CheckRef, CheckResult
from domain.scoring.examples import Examples
from domain.scoring.jobs import BatchPage, BatchProgress, NewScore, ScoredPage, ScoringJob
from domain.scoring.models import NewModel, ScoringModel
from domain.scoring.scores import ScoreInput, ScoreResult
from domain.scoring.trainings import TrainingInput, TrainingResult


class ScoreStore(Protocol):
    """Scores of single leads."""

    async def begin(self, input: ScoreInput, attempt: Attempt) -> ScoringJob | ScoreResult:
        """Begin the run with this attempt and read the lead, or return how the run has ended."""
        ...

    async def finish(
        self, input: ScoreInput, attempt: int, job: ScoringJob, score: NewScore
    ) -> ScoreResult:
        """Store the score, publish it, and end the run, in one transaction."""
        ...

    async def shadows(self, input: ScoreInput) -> ScoringJob:
        """Read the lead again, with the shadow arms that have not scored it for this run."""
        ...

    async def store_shadows(
        self, input: ScoreInput, job: ScoringJob, scores: Sequence[NewScore]
    ) -> int:
        """Store scores of shadow arms; return how many leads they are."""
        ...


class BatchStore(Protocol):
    """Batches, and the pages that they are scored in."""

    async def open(self, run: RunRef, attempt: int) -> BatchStart:
        """Begin a batch: count its leads, once."""
        ...

    async def chunks(self, ref: PlanRef) -> ChunkPlan:
        """Plan the next chunks of a batch."""
        ...

    async def next_page(
        self, ref: ChunkRef, after: str, page: ScoredPage | None, *, again: bool
    ) -> BatchPage:
        """Store the results of a page, count them, and read the next one, in one transaction."""
        ...

    async def store_page(self, ref: ChunkRef, page: ScoredPage) -> BatchProgress:
        """Store the results of a page, and count them."""
        ...

    async def pause(self, pause: BatchPause) -> None:
        """Record that a batch is paused or resumed."""
        ...

    async def close(self, end: RunEnd) -> BatchResult:
        """End a batch; one that completed with failures says so."""
        ...


class ScoringModelStore(Protocol):
    """Versions of scoring models."""

    async def read(self, tenant_id: str, model: str) -> ScoringModel:
        """Return one version. Raises ModelUnknown."""
        ...

    async def add(self, tenant_id: str, user_id: str, new: NewModel) -> ScoringModel:
        """Add a version as a candidate; the same training run adds one version only."""
        ...


class TrainingStore(Protocol):
    """Trainings, and the leads whose outcome is known."""

    async def examples(self, input: TrainingInput, attempt: Attempt) -> Examples | TrainingResult:
        """Read leads with their behaviour until their outcome, or return how the run has ended."""
        ...

    async def report(self, run: RunRef, stage: str, leads: int) -> None:
        """Report the progress of a training."""
        ...

    async def finish(self, input: TrainingInput, model: ScoringModel) -> TrainingResult:
        """End a training with the model that it has added."""
        ...


class Learner(Protocol):
    """A learner of models."""

    async def learn(
        self,
        input: TrainingInput,
        examples: Examples,
        report: Callable[[str], Awaitable[None]],
    ) -> NewModel:
        """Learn a model with its metrics and its baseline. Raises TrainingImpossible."""
        ...


class CheckStore(Protocol):
    """Checks of scores."""

    async def check(self, ref: CheckRef, attempt: Attempt) -> CheckResult:
        """Check the scores of the last days, store the report, and raise alerts."""
        ...
