"""Scoring plans: which models score, resolved to versions that may, at one moment."""

from collections.abc import Iterable
from typing import Any

from db.session import Connection, many, one
from domain.errors import Conflict, NotFound
from domain.leads.leads import LeadFilter
from domain.scoring.experiments import Arm, ScoringPlan
from domain.scoring.models import BUILT_IN

_CURRENT = """
SELECT (SELECT name || '.' || version FROM scoring_models
        WHERE tenant_id = %(tenant)s AND status = 'champion') AS champion,
    e.id, e.arms, e.filter
FROM (SELECT 1) AS always LEFT JOIN experiments e ON e.tenant_id = %(tenant)s
    AND e.status = 'running'
"""
_STATUS = """
SELECT name || '.' || version AS id, status FROM scoring_models
WHERE tenant_id = %(tenant)s AND name || '.' || version = ANY (%(models)s)
"""


async def current(connection: Connection, tenant_id: str, model: str | None = None) -> ScoringPlan:
    """What scores a lead now: a model that is asked for, or the champion and the experiment.

    Raises NotFound (`model_unknown`), Conflict (`model_retired`, `model_not_approved`).
    """
    if model is not None:
        await check(connection, tenant_id, shown=[model])
        return ScoringPlan(default=model)
    row = await one(connection, _CURRENT, {"tenant": tenant_id})
    assert row is not None
    plan = ScoringPlan(default=row["champion"] or BUILT_IN)
    return with_arms(plan, row) if row["id"] is not None else plan


async def check_arms(connection: Connection, tenant_id: str, arms: Iterable[Arm]) -> None:
    """Raises as `check` does for the models of arms: shadows may be candidates."""
    listed = list(arms)
    shown = [arm.model for arm in listed if not arm.shadow]
    await check(connection, tenant_id, shown, [arm.model for arm in listed if arm.shadow])


async def check(
    connection: Connection, tenant_id: str, shown: Iterable[str] = (), hidden: Iterable[str] = ()
) -> None:
    """Raises NotFound (`model_unknown`), Conflict (`model_retired`; `model_not_approved` for a
    candidate whose scores would be shown)."""
    shown = set(shown)
    asked = {*shown, *hidden} - {BUILT_IN}
    rows = await many(connection, _STATUS, {"tenant": tenant_id, "models": sorted(asked)})
    status = {row["id"]: row["status"] for row in rows}
    for model in sorted(asked):
        if model not in status:
            raise NotFound(f"There is no model {model!r}.", code="model_unknown")
        if status[model] == "retired":
            raise Conflict(f"The model {model} is retired.", code="model_retired")
        if status[model] == "candidate" and model in shown:
            raise Conflict(f"The model {model} is not approved yet.", code="model_not_approved")


def with_arms(plan: ScoringPlan, row: dict[str, Any]) -> ScoringPlan:
    """A plan with the arms of an experiment's row."""
    chosen = LeadFilter.model_validate(row["filter"]) if row["filter"] else None
    arms = tuple(Arm.model_validate(arm) for arm in row["arms"])
    return plan.model_copy(update={"experiment_id": row["id"], "arms": arms, "filter": chosen})
