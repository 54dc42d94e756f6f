"""Batch plans: what a batch was asked for, resolved to models that may score."""

from db.scoring import experiments, plans
from db.session import Connection, one
from domain.errors import Conflict, NotFound
from domain.scoring.batches import BatchMode, BatchOrder, Selection
from domain.scoring.experiments import ExperimentStatus, ScoringPlan

_BATCH = "SELECT 1 FROM batches WHERE tenant_id = %(tenant)s AND run_id = %(run)s"


async def of(connection: Connection, tenant_id: str, order: BatchOrder) -> ScoringPlan:
    """What scores a batch. Raises as `scoring_plans.current`, and NotFound (`experiment_unknown`,
    `batch_unknown` for the batch whose failed leads are asked for), Conflict
    (`experiment_stopped`)."""
    await _check_source(connection, tenant_id, order.selection)
    if order.mode is BatchMode.TEST:
        await plans.check(connection, tenant_id, hidden=order.models)
        return ScoringPlan(default=order.models[0], tests=tuple(dict.fromkeys(order.models)))
    plan = await plans.current(connection, tenant_id, order.model)
    if order.experiment is None:
        return plan
    experiment = await experiments.shown(connection, tenant_id, order.experiment)
    if experiment.status is not ExperimentStatus.RUNNING:
        raise Conflict("This experiment is stopped.", code="experiment_stopped")
    await plans.check_arms(connection, tenant_id, experiment.arms)
    return plan.model_copy(
        update={
            "experiment_id": experiment.id,
            "arms": experiment.arms,
            "filter": experiment.filter,
        }
    )


async def _check_source(connection: Connection, tenant_id: str, selection: Selection) -> None:
    values = {"tenant": tenant_id, "run": selection.failed_of}
    if selection.failed_of is not None and await one(connection, _BATCH, values) is None:
        raise NotFound("There is no such batch.", code="batch_unknown")
