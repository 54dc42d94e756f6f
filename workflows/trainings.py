"""Trainings: one workflow per model that is learned."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.leads import LeadActivities
    from activities.trainings import TrainingActivities
    from domain import names
    from domain.trainings import TrainingInput, TrainingResult
    from workflows import endings, policy

_LIMIT = timedelta(hours=6)


@workflow.defn(name=names.WorkflowType.MODEL_TRAINING)
class ModelTraining:
    """Learn a model. It never fails: what went wrong is an outcome in the record."""

    @workflow.run
    async def run(self, training: TrainingInput) -> TrainingResult:
        try:
            result = await workflow.execute_activity_method(
                TrainingActivities.train_model,
                training,
                summary=f"learn {training.order.name}",
                schedule_to_close_timeout=_LIMIT,
                **policy.BATCH,
            )
            if result.auc is not None:
                workflow.set_current_details(f"**{result.model_id}**: AUC {result.auc:.3f}")
        except (asyncio.CancelledError, FailureError) as error:
            closed = await workflow.execute_local_activity_method(
                LeadActivities.close_run,
                endings.closing(training.run, error),
                **policy.STORE,
            )
            result = TrainingResult(outcome=closed.outcome)
        workflow.upsert_search_attributes([names.OUTCOME.value_set(result.outcome.value)])
        return result
