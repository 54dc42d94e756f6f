"""Trainings: one workflow per model that is learned."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.scoring.trainings import TrainingActivities
    from domain import names
    from domain.scoring.trainings import TrainingInput, TrainingResult
    from workflows import endings, policy

_LIMIT = timedelta(hours=6)


@workflow.defn(name=names.WorkflowType.MODEL_TRAINING)
class ModelTraining:
    """The training of a model. It never fails: an error is an outcome in the record."""

    @workflow.run
    async def run(self, input: TrainingInput) -> TrainingResult:
        return await endings.run_to_end(
            input.run, self._train(input), lambda outcome: TrainingResult(outcome=outcome)
        )

    async def _train(self, input: TrainingInput) -> TrainingResult:
        result = await workflow.execute_activity_method(
            TrainingActivities.train_model,
            input,
            summary=f"learn {input.request.name}",
            task_queue=names.TaskQueue.LEARNING,
            schedule_to_close_timeout=_LIMIT,
            **policy.TRAINING,
        )
        if result.auc is not None:
            workflow.set_current_details(f"**{result.model_id}**: AUC {result.auc:.3f}")
        return result
