"""Scoring plans: the models that score at one moment, resolved to versions that may."""

from collections.abc import Iterable
from typing import Any

from db.session import Connection, many, one
from domain.leads.leads import LeadFilter
from domain.scoring.errors import ModelNotApproved, ModelRetired, ModelUnknown
from domain.scoring.experiments import Arm, ScoringPlan
from domain.scoring.models import BUILT_IN, ModelStatus

_CURRENT = """
-- Read a tenant's champion and running experiment, each of which there may be none.
SELECT (SELECT name || '.' || version FROM scoring_models
        WHERE tenant_id = %(tenant)s AND status = 'champion') AS champion,
    e.id, e.arms, e.filter
FROM (SELECT 1) AS always LEFT JOIN experiments e ON e.tenant_id = %(tenant)s
    AND e.status = 'running'
"""


async def current(connection: Connection, tenant_id: str, model: str | None = None) -> ScoringPlan:
    """Return what scores a lead now: the given model, or the champion and the experiment.

    Raises ModelUnknown, ModelRetired, ModelNotApproved.
    """
    if model is not None:
        await check(connection, tenant_id, visible=[model])
        return ScoringPlan(default=model)
    row = await one(connection, _CURRENT, {"tenant": tenant_id})
    assert row is not None
    plan = ScoringPlan(default=row["champion"] or BUILT_IN)
    return _with_arms(plan, row) if row["id"] is not None else plan


async def check_arms(connection: Connection, tenant_id: str, arms: Iterable[Arm]) -> None:
    """Check the models of arms as `check` does: shadows may be candidates."""
    models: dict[bool, list[str]] = {False: [], True: []}
    for arm in arms:
        models[arm.shadow].append(arm.model)
    await check(connection, tenant_id, visible=models[False], hidden=models[True])


async def check(
    connection: Connection, tenant_id: str, visible: Iterable[str] = (), hidden: Iterable[str] = ()
) -> None:
    """Raise ModelUnknown, ModelRetired, or ModelNotApproved for a candidate whose scores would be
    visible."""
    visible = set(visible)
    models = sorted({*visible, *hidden} - {BUILT_IN})
    statuses = await _statuses(connection, tenant_id, models)
    for model in models:
        if model not in statuses:
            raise ModelUnknown(f"There is no model {model!r}.", model=model)
        if statuses[model] is ModelStatus.RETIRED:
            raise ModelRetired(f"The model {model} is retired.", model=model)
        if statuses[model] is ModelStatus.CANDIDATE and model in visible:
            raise ModelNotApproved(f"The model {model} is not approved yet.", model=model)


_STATUSES = """
-- Read the status of each of these versions that exists.
SELECT name || '.' || version AS id, status FROM scoring_models
WHERE tenant_id = %(tenant)s AND name || '.' || version = ANY (%(models)s)
"""


async def _statuses(
    connection: Connection, tenant_id: str, models: list[str]
) -> dict[str, ModelStatus]:
    rows = await many(connection, _STATUSES, {"tenant": tenant_id, "models": models})
    return {row["id"]: ModelStatus(row["status"]) for row in rows}


_CALLS_MODELS = """
-- Say whether one of these scoring models calls a language model.
SELECT bool_or(kind = 'llm') AS any FROM scoring_models
WHERE tenant_id = %(tenant)s AND name || '.' || version = ANY (%(models)s)
"""


async def calls_models(connection: Connection, tenant_id: str, models: list[str]) -> bool:
    """Return whether one of these models calls a language model for each lead."""
    row = await one(connection, _CALLS_MODELS, {"tenant": tenant_id, "models": models})
    return bool(row and row["any"])


def _with_arms(plan: ScoringPlan, row: dict[str, Any]) -> ScoringPlan:
    filter = LeadFilter.model_validate(row["filter"]) if row["filter"] else None
    arms = tuple(Arm.model_validate(arm) for arm in row["arms"])
    return plan.model_copy(update={"experiment_id": row["id"], "arms": arms, "filter": filter})
