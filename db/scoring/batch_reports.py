"""Batch reports: lists of batches, their failures, and estimates of new ones."""

from collections.abc import Mapping
from typing import Any

from db.scoring import batch_pages, batch_plans, selections
from db.session import Connection, Database, many, one
from domain.base import Page
from domain.identity.principals import Principal
from domain.runs.runs import RunRef
from domain.scoring.batches import Batch, BatchRequest, Estimate, Failure

_USUAL_RATE = 2_000.0
_USUAL_CALLS_RATE = 2.0


class BatchReports:
    """The batches of a tenant, for those who read them. `max_costs`: what a lead costs at most by
    each route whose price the settings know, in micro-dollars."""

    def __init__(self, database: Database, max_costs: Mapping[str, int]) -> None:
        self._database = database
        self._max_costs = max_costs

    async def find(self, caller: Principal, *, cursor: str | None, limit: int) -> Page[Batch]:
        """Return a page of batches, the latest first."""
        async with self._database.transaction(caller.tenant_id) as connection:
            return await batch_pages.find(connection, caller.tenant_id, cursor, limit)

    async def read(self, caller: Principal, run_id: str) -> Batch:
        """Return one batch. Raises BatchUnknown."""
        async with self._database.transaction(caller.tenant_id) as connection:
            return await batch_pages.get(
                connection, RunRef(tenant_id=caller.tenant_id, run_id=run_id)
            )

    async def failures(
        self, caller: Principal, run_id: str, *, after: str | None, limit: int
    ) -> Page[Failure]:
        """Return a page of the leads that a batch could not score. Raises BatchUnknown."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await batch_plans.check_exists(connection, caller.tenant_id, run_id)
            run = RunRef(tenant_id=caller.tenant_id, run_id=run_id)
            return await _failures(connection, run, after or "", limit)

    async def estimate(self, caller: Principal, request: BatchRequest) -> Estimate:
        """Estimate a batch without running it. Raises as `batch_plans.resolve`."""
        tenant_id = caller.tenant_id
        async with self._database.transaction(tenant_id) as connection:
            plan = await batch_plans.resolve(connection, tenant_id, request)
            leads = await selections.count(connection, tenant_id, request.selection)
            calling = await _calling_models(connection, tenant_id, plan.models)
            rate = _USUAL_CALLS_RATE if calling else await _rate(connection, tenant_id)
        each, basis = self._cost_of_lead(calling, plan.shares)
        return Estimate(
            leads=leads,
            models=plan.models,
            cost_micros=None if each is None else round(leads * each),
            seconds=round(leads / rate, 1),
            basis=basis,
        )

    def _cost_of_lead(
        self, calling: list[dict[str, Any]], shares: dict[str, float]
    ) -> tuple[float | None, str]:
        """Return what a lead costs in micro-dollars, and how that is known."""
        if not calling:
            return 0.0, "no model calls"
        if all(row["cost"] is not None for row in calling):
            last = sum(row["cost"] * shares[row["id"]] for row in calling)
            return last, "the last scores of these models"
        if any(row["cost"] is None and row["route"] not in self._max_costs for row in calling):
            return None, "unknown: score a few leads first, or give the deployment a price"
        costs = (
            (row["cost"] or self._max_costs[row["route"]]) * shares[row["id"]] for row in calling
        )
        return sum(costs), "the longest prompt and answer"


_FAILURES = """
-- Read a page of the leads that a batch could not score, in the order of their ids.
SELECT lead_id, code, detail FROM batch_failures
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND lead_id > %(after)s
ORDER BY lead_id LIMIT %(limit)s
"""


async def _failures(connection: Connection, run: RunRef, after: str, limit: int) -> Page[Failure]:
    rows = await many(connection, _FAILURES, run.key | {"after": after, "limit": limit + 1})
    failures = [Failure.model_validate(row) for row in rows[:limit]]
    following = failures[-1].lead_id if len(rows) > limit else None
    return Page(items=failures, next_cursor=following)


_COSTS = """
-- Read the scoring models that call a language model, with what a lead has cost lately by each;
-- no cost where none has scored.
SELECT m.name || '.' || m.version AS id, m.definition->>'route' AS route,
    (SELECT avg(c.cost_micros) FROM (SELECT cost_micros FROM scores
        WHERE tenant_id = m.tenant_id AND model_version = m.name || '.' || m.version
          AND calculated_at > now() - interval '30 days' LIMIT 500) AS c)::float8 AS cost
FROM scoring_models m
WHERE m.tenant_id = %(tenant)s AND m.name || '.' || m.version = ANY (%(models)s)
    AND m.kind = 'llm'
"""


async def _calling_models(
    connection: Connection, tenant_id: str, models: list[str]
) -> list[dict[str, Any]]:
    return await many(connection, _COSTS, {"tenant": tenant_id, "models": models})


_RATE = """
-- Read the mean leads per second of the last five batches of more than a hundred leads.
SELECT avg(rate) AS rate FROM (SELECT (scored + failed) / greatest(extract(epoch FROM
        r.finished_at - b.created_at), 0.1) AS rate
    FROM batches b JOIN runs r ON r.tenant_id = b.tenant_id AND r.id = b.run_id
    WHERE b.tenant_id = %(tenant)s AND r.finished_at IS NOT NULL AND b.scored > 100
    ORDER BY b.created_at DESC LIMIT 5) AS lately
"""


async def _rate(connection: Connection, tenant_id: str) -> float:
    row = await one(connection, _RATE, {"tenant": tenant_id})
    return float(row["rate"]) if row and row["rate"] else _USUAL_RATE
