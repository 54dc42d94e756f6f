"""What the scoring of leads needs from the outside world."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from domain.runs.attempts import Attempt
from domain.runs.runs import RunEnd, RunRef
from domain.scoring.batches import (
    BatchOpening,
    BatchResult,
    ChunkPlan,
    ChunkRef,
    Pausing,
    PlanRef,
)
from domain.scoring.checks import CheckRef, CheckResult
from domain.scoring.examples import Examples
from domain.scoring.jobs import BatchPage, BatchProgress, PageDone, Scored, ScoringTask
from domain.scoring.models import NewModel, ScoringModel
from domain.scoring.scores import ScoreInput, ScoreResult
from domain.scoring.trainings import TrainingInput, TrainingResult


class ScoreStore(Protocol):
    """Scores of single leads."""

    async def begin(self, wanted: ScoreInput, attempt: Attempt) -> ScoringTask | ScoreResult:
        """Take the run for this attempt and read the lead, or tell how the run has ended."""
        ...

    async def finish(
        self, wanted: ScoreInput, attempt: int, task: ScoringTask, scored: Scored
    ) -> ScoreResult:
        """Keep the score, tell the tenant's screens, and end the run; all of it or nothing."""
        ...

    async def shadows(self, wanted: ScoreInput) -> ScoringTask:
        """The lead again, with the shadow arms that have not scored it for this run."""
        ...

    async def keep(self, wanted: ScoreInput, task: ScoringTask, scored: Sequence[Scored]) -> int:
        """Keep scores of shadows; how many leads they are."""
        ...


class BatchStore(Protocol):
    """Batches, and the pages that they are scored in."""

    async def open(self, run: RunRef, attempt: int) -> BatchOpening: ...

    async def chunks(self, ref: PlanRef) -> ChunkPlan: ...

    async def next_page(
        self, ref: ChunkRef, after: str, done: PageDone | None, *, again: bool
    ) -> BatchPage:
        """Keep what became of a page, count it, and read the next one, in one transaction."""
        ...

    async def keep_page(self, ref: ChunkRef, done: PageDone) -> BatchProgress:
        """Keep what became of a page, and count it."""
        ...

    async def pause(self, pausing: Pausing) -> None: ...

    async def close(self, end: RunEnd) -> BatchResult: ...


class ModelRegistry(Protocol):
    """Versions of scoring models."""

    async def read(self, tenant_id: str, model: str) -> ScoringModel:
        """One version; raises NotFound (`model_unknown`)."""
        ...

    async def add(self, tenant_id: str, user_id: str, new: NewModel) -> ScoringModel:
        """A new version, as a candidate; the same training run adds one version only."""
        ...


class TrainingStore(Protocol):
    """Leads whose outcome is known."""

    async def examples(
        self, training: TrainingInput, attempt: Attempt
    ) -> Examples | TrainingResult:
        """Leads with their behaviour until their outcome; or how the run has ended."""
        ...

    async def tell(self, run: RunRef, stage: str, leads: int) -> None:
        """Say how far a training is."""
        ...

    async def finish(self, training: TrainingInput, model: ScoringModel) -> TrainingResult: ...


class Learner(Protocol):
    """What learns a model from examples."""

    async def learn(
        self,
        training: TrainingInput,
        examples: Examples,
        tell: Callable[[str], Awaitable[None]],
    ) -> NewModel:
        """A model with its metrics and its baseline. Raises Invalid (`training_impossible`)."""
        ...


class CheckStore(Protocol):
    """Checks of what was scored."""

    async def check(self, ref: CheckRef, attempt: Attempt) -> CheckResult:
        """Look at the scores of the last days, write down what was found, and raise alerts."""
        ...
