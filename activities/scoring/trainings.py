"""Trainings: the activity that learns a model from outcomes."""

from temporalio import activity

from activities.runs import attempts
from activities.scoring.ports import Learner, ModelRegistry, TrainingStore
from domain.scoring.trainings import TrainingInput, TrainingResult


class TrainingActivities:
    """Activities of trainings."""

    def __init__(self, trainings: TrainingStore, learner: Learner, registry: ModelRegistry) -> None:
        self._trainings = trainings
        self._learner = learner
        self._registry = registry

    @activity.defn
    async def train_model(self, training: TrainingInput) -> TrainingResult:
        """Learn a model, and add it to the registry as a candidate: once, also if it is learned
        again after a crash. Raises Invalid (`training_impossible`)."""
        examples = await self._trainings.examples(training, attempts.current())
        if isinstance(examples, TrainingResult):
            return examples

        async def tell(stage: str) -> None:
            await self._trainings.tell(training.run, stage, len(examples))

        await tell("reading")
        new = await self._learner.learn(training, examples, tell)
        window = {"window_from": examples.first, "window_to": examples.last}
        new = new.model_copy(update=window)
        model = await self._registry.add(training.run.tenant_id, training.user_id, new)
        return await self._trainings.finish(training, model)
