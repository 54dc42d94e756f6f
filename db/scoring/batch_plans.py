"""Batch plans: the request of a batch, resolved to models that may score."""

from db.scoring import experiments, plans
from db.session import Connection, one
from domain.scoring.batches import BatchMode, BatchRequest, Selection
from domain.scoring.errors import BatchUnknown, ExperimentStopped
from domain.scoring.experiments import ExperimentStatus, ScoringPlan


async def resolve(connection: Connection, tenant_id: str, request: BatchRequest) -> ScoringPlan:
    """Return the models that score a batch.

    Raises ModelUnknown, ModelRetired, ModelNotApproved, ExperimentUnknown, ExperimentStopped, and
    BatchUnknown for the batch whose failed leads are requested.
    """
    await _check_source(connection, tenant_id, request.selection)
    if request.mode is BatchMode.TEST:
        await plans.check(connection, tenant_id, hidden=request.models)
        return ScoringPlan(default=request.models[0], tests=tuple(dict.fromkeys(request.models)))
    plan = await plans.current(connection, tenant_id, request.model)
    if request.experiment is None:
        return plan
    experiment = await experiments.get(connection, tenant_id, request.experiment)
    if experiment.status is not ExperimentStatus.RUNNING:
        raise ExperimentStopped(experiment_id=experiment.id)
    await plans.check_arms(connection, tenant_id, experiment.arms)
    return plan.model_copy(
        update={
            "experiment_id": experiment.id,
            "arms": experiment.arms,
            "filter": experiment.filter,
        }
    )


_EXISTS = """
-- Say whether there is such a batch.
SELECT 1 FROM batches WHERE tenant_id = %(tenant)s AND run_id = %(run)s
"""


async def check_exists(connection: Connection, tenant_id: str, run_id: str) -> None:
    """Raise BatchUnknown if there is no such batch."""
    if await one(connection, _EXISTS, {"tenant": tenant_id, "run": run_id}) is None:
        raise BatchUnknown(run_id=run_id)


async def _check_source(connection: Connection, tenant_id: str, selection: Selection) -> None:
    if selection.failed_of is not None:
        await check_exists(connection, tenant_id, selection.failed_of)
