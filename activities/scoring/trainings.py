"""Trainings: the activity that learns a model from outcomes."""

from temporalio import activity

from activities.runs import attempts
from activities.scoring.ports import Learner, ScoringModelStore, TrainingStore
from domain.scoring.trainings import TrainingInput, TrainingResult


class TrainingActivities:
    """Activities of trainings."""

    def __init__(
        self, trainings: TrainingStore, learner: Learner, models: ScoringModelStore
    ) -> None:
        self._trainings = trainings
        self._learner = learner
        self._models = models

    @activity.defn
    async def train_model(self, input: TrainingInput) -> TrainingResult:
        """Learn a model, and add it to the registry as a candidate: once, also if it is learned
        again after a crash. Raises TrainingImpossible."""
        examples = await self._trainings.examples(input, attempts.current())
        if isinstance(examples, TrainingResult):
            return examples

        async def report(stage: str) -> None:
            await self._trainings.report(input.run, stage, len(examples))

        await report("reading")
        new = await self._learner.learn(input, examples, report)
        window = {"window_from": examples.first, "window_to": examples.last}
        new = new.model_copy(update=window)
        model = await self._models.add(input.run.tenant_id, input.user_id, new)
        return await self._trainings.finish(input, model)
