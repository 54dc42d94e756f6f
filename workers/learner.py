"""The learner, loaded when a model is learned: scikit-learn takes a second and a hundred MB."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from domain.scoring.examples import Examples
from domain.scoring_models import NewModel
from domain.trainings import TrainingInput

if TYPE_CHECKING:
    from adapters.learning.learner import SklearnLearner


class LateLearner:
    """The Learner port over scikit-learn, loaded by the first training."""

    async def learn(
        self,
        training: TrainingInput,
        examples: Examples,
        tell: Callable[[str], Awaitable[None]],
    ) -> NewModel:
        """A model with its metrics and its baseline; raises Invalid (`training_impossible`)."""
        learner = await asyncio.to_thread(_load)
        return await learner().learn(training, examples, tell)


def _load() -> "type[SklearnLearner]":
    from adapters.learning.learner import SklearnLearner

    return SklearnLearner
