"""Batch reports: batches listed, what failed in them, and what one would cost."""

from collections.abc import Mapping
from typing import Any

from db import cursors
from db.scoring import batch_pages, batch_plans, selections
from db.session import Connection, Database, many, one
from domain.base import Page
from domain.identity.principals import Principal
from domain.runs.runs import RunRef
from domain.scoring.batches import Batch, BatchOrder, Estimate, Failure

_FAILURES = """
SELECT lead_id, code, detail FROM batch_failures
WHERE tenant_id = %(tenant)s AND run_id = %(run)s AND lead_id > %(after)s
ORDER BY lead_id LIMIT %(limit)s
"""
# What a lead has cost lately with each model that asks another one; else a short prompt's price.
_COSTS = """
SELECT m.name || '.' || m.version AS id, m.kind, m.definition->>'route' AS route,
    (SELECT avg(c.cost_micros) FROM (SELECT cost_micros FROM scores
        WHERE tenant_id = m.tenant_id AND model_version = m.name || '.' || m.version
          AND calculated_at > now() - interval '30 days' LIMIT 500) AS c)::float8 AS cost
FROM scoring_models m
WHERE m.tenant_id = %(tenant)s AND m.name || '.' || m.version = ANY (%(models)s)
"""
_SPEED = """
SELECT avg(rate) AS rate FROM (SELECT (scored + failed) / greatest(extract(epoch FROM
        r.finished_at - b.created_at), 0.1) AS rate
    FROM batches b JOIN runs r ON r.tenant_id = b.tenant_id AND r.id = b.run_id
    WHERE b.tenant_id = %(tenant)s AND r.finished_at IS NOT NULL AND b.scored > 100
    ORDER BY b.created_at DESC LIMIT 5) AS lately
"""
_USUAL_RATE = 2_000.0
_USUAL_CALLS_RATE = 2.0


class BatchReports:
    """The batches of a tenant, for those who read them. `most`: what a lead costs at most by each
    route whose price the settings know, in micro-dollars."""

    def __init__(self, database: Database, most: Mapping[str, int]) -> None:
        self._database = database
        self._most = most

    async def find(self, caller: Principal, *, cursor: str | None, limit: int) -> Page[Batch]:
        """Batches, the latest first."""
        time, after = cursors.decode_place(cursor)
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await batch_pages.listed(
                connection, caller.tenant_id, None, time, after, limit + 1
            )
        last = rows[limit - 1] if len(rows) > limit else None
        following = cursors.encode(last.created_at.isoformat(), last.run_id) if last else None
        return Page(items=rows[:limit], next_cursor=following)

    async def read(self, caller: Principal, run_id: str) -> Batch:
        """One batch; raises NotFound (`batch_unknown`)."""
        async with self._database.transaction(caller.tenant_id) as connection:
            return await batch_pages.shown(
                connection, RunRef(tenant_id=caller.tenant_id, run_id=run_id)
            )

    async def failures(
        self, caller: Principal, run_id: str, *, after: str | None, limit: int
    ) -> Page[Failure]:
        """The leads that a batch could not score; raises NotFound (`batch_unknown`)."""
        values = {"tenant": caller.tenant_id, "run": run_id, "after": after or ""}
        async with self._database.transaction(caller.tenant_id) as connection:
            await batch_pages.shown(connection, RunRef(tenant_id=caller.tenant_id, run_id=run_id))
            rows = await many(connection, _FAILURES, values | {"limit": limit + 1})
        found = [Failure.model_validate(row) for row in rows[:limit]]
        return Page(items=found, next_cursor=found[-1].lead_id if len(rows) > limit else None)

    async def estimate(self, caller: Principal, order: BatchOrder) -> Estimate:
        """What a batch would be; raises as accepting it does."""
        tenant_id = caller.tenant_id
        async with self._database.transaction(tenant_id) as connection:
            plan = await batch_plans.of(connection, tenant_id, order)
            leads = await selections.count(connection, tenant_id, order.selection)
            values = {"tenant": tenant_id, "models": plan.models}
            costs = await many(connection, _COSTS, values)
            rate = await _rate(connection, values)
        asking = [row for row in costs if row["kind"] == "llm"]
        each, basis = self._each(asking, plan.shares)
        seconds = leads / (_USUAL_CALLS_RATE if asking else rate)
        return Estimate(
            leads=leads,
            models=plan.models,
            cost_micros=None if each is None else round(leads * each),
            seconds=round(seconds, 1),
            basis=basis,
        )

    def _each(
        self, asking: list[dict[str, Any]], shares: dict[str, float]
    ) -> tuple[float | None, str]:
        """What a lead costs, and how that is known."""
        if not asking:
            return 0.0, "no model calls"
        if all(row["cost"] is not None for row in asking):
            last = sum(row["cost"] * shares[row["id"]] for row in asking)
            return last, "the last scores of these models"
        if any(row["cost"] is None and row["route"] not in self._most for row in asking):
            return None, "unknown: score a few leads first, or give the deployment a price"
        costs = ((row["cost"] or self._most[row["route"]]) * shares[row["id"]] for row in asking)
        return sum(costs), "the longest prompt and answer"


async def _rate(connection: Connection, values: dict[str, Any]) -> float:
    row = await one(connection, _SPEED, values)
    return float(row["rate"]) if row and row["rate"] else _USUAL_RATE
