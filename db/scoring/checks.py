"""Checks: the scores of the last days compared with the training window and between groups."""

import asyncio
from typing import Any

import orjson
from psycopg.types.json import Jsonb

from db import cursors
from db.gateway.alerts import raise_alert
from db.runs import events as event_log
from db.runs import lifecycle
from db.runs.leases import Fence
from db.session import Connection, Database, many, one
from domain.base import Page
from domain.errors import NotFound
from domain.identity.principals import Principal
from domain.runs.attempts import Attempt
from domain.runs.errors import RunFinished
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import Outcome, RunEnd
from domain.scoring.checks import (
    Check,
    CheckOrder,
    CheckRef,
    CheckResult,
    Drift,
    Fairness,
    Seen,
    Watched,
    alerts_of,
    baseline_of,
    drift_of,
    fairness_of,
    is_lasting,
)
from domain.scoring.models import BUILT_IN, ModelKind

_MOST, _DEEPEST = 20_000, 1_000_000
# `scores_by_model` serves all three. One look for each model: what it scored is not read.
MODELS = """
SELECT m.model, m.trained, m.baseline FROM (
    SELECT name || '.' || version AS model, kind = %(learned)s AS trained, baseline
    FROM scoring_models WHERE tenant_id = %(tenant)s
    UNION ALL SELECT %(built_in)s, false, NULL) AS m
CROSS JOIN LATERAL (
    SELECT FROM scores s WHERE s.tenant_id = %(tenant)s AND s.model_version = m.model
      AND s.shown AND s.calculated_at > now() - make_interval(secs => %(seconds)s)
    ORDER BY s.calculated_at LIMIT 1) AS used
ORDER BY 1
"""
# A batch goes by the leads' names: the sample, by their hashes, is out of many more scores.
_SAMPLE = """
SELECT c.score, c.features::text AS features FROM (
    SELECT lead_id, {which}(calculated_at) AS calculated_at FROM (
        SELECT lead_id, calculated_at FROM scores
        WHERE tenant_id = %(tenant)s AND model_version = %(model)s AND shown
          AND calculated_at {side} now() - make_interval(secs => %(seconds)s)
        ORDER BY calculated_at {order} LIMIT %(deepest)s) AS near
    GROUP BY lead_id ORDER BY hashtext(lead_id) LIMIT %(most)s) AS sample
CROSS JOIN LATERAL (
    SELECT score, features FROM scores s
    WHERE s.tenant_id = %(tenant)s AND s.model_version = %(model)s AND s.shown
      AND s.calculated_at = sample.calculated_at AND s.lead_id = sample.lead_id LIMIT 1) AS c
"""
LATEST = _SAMPLE.format(which="max", side=">", order="DESC")
# Rules were not trained: what they said first is what later scores are compared with.
FIRST = _SAMPLE.format(which="min", side="<=", order="ASC")
_KEEP_BASELINE = """
UPDATE scoring_models SET baseline = %(baseline)s
WHERE tenant_id = %(tenant)s AND name || '.' || version = %(model)s AND baseline IS NULL
"""
_GROUPS = """
SELECT coalesce(l.profile #>> %(path)s::text[], '(unknown)') AS value, count(*) AS leads,
    avg(s.score) AS mean, count(*) FILTER (WHERE s.score >= %(selected_from)s) AS selected
FROM current_scores s JOIN leads l ON l.tenant_id = s.tenant_id AND l.id = s.lead_id
WHERE s.tenant_id = %(tenant)s AND s.calculated_at > now() - make_interval(secs => %(seconds)s)
GROUP BY 1 ORDER BY 2 DESC LIMIT 200
"""
_KEEP = """
INSERT INTO checks (tenant_id, run_id, orders, drift, fairness, alerts)
VALUES (%(tenant)s, %(run)s, %(orders)s, %(drift)s, %(fairness)s, %(alerts)s)
ON CONFLICT DO NOTHING
"""
_COLUMNS = 'run_id, orders AS "order", drift, fairness, alerts, created_at'
_LIST = f"""
SELECT {_COLUMNS} FROM checks WHERE tenant_id = %(tenant)s
  AND (%(run)s::text IS NULL OR run_id = %(run)s)
  AND (%(time)s::timestamptz IS NULL
    OR (created_at, run_id) < (%(time)s::timestamptz, %(after)s))
ORDER BY created_at DESC, run_id DESC LIMIT %(limit)s
"""


class Checks:
    """The checks of tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check(self, ref: CheckRef, attempt: Attempt) -> CheckResult:
        """Look at the scores of the last days; then write down what was found, raise alerts, and
        end the run, in one transaction."""
        run, order = ref.run, ref.order
        async with self._database.transaction(run.tenant_id) as connection:
            try:
                await lifecycle.begin(connection, run, Fence(1, attempt.number))
            except RunFinished:
                return CheckResult(outcome=await lifecycle.outcome_of(connection, run))
        drift = [await self._drift_of(ref, each) for each in await self._models(ref)]
        async with self._database.transaction(run.tenant_id) as connection:
            fairness = await _fairness(connection, run.tenant_id, order)
            alerts = alerts_of(run.run_id, order, drift, fairness)
            for alert in alerts:
                await raise_alert(connection, run.tenant_id, alert.kind, alert.subject, alert.data)
            found = {
                "drift": [each.model_dump() for each in drift],
                "fairness": fairness.model_dump() if fairness else None,
            }
            await _keep(connection, ref, found, len(alerts))
            event = NewEvent(type=EventType.CHECK_REPORTED, data=found)
            await event_log.append(connection, run, 1, attempt.number, [event])
            ending = RunEnd(run=run, outcome=Outcome.COMPLETED, result={"alerts": len(alerts)})
            ended = await lifecycle.end(connection, ending)
        return CheckResult(outcome=ended.outcome, alerts=len(alerts))

    async def _models(self, ref: CheckRef) -> list[Watched]:
        values = _window(ref) | {"learned": ModelKind.LEARNED.value, "built_in": BUILT_IN}
        async with self._database.transaction(ref.run.tenant_id) as connection:
            return [Watched.model_validate(row) for row in await many(connection, MODELS, values)]

    async def _drift_of(self, ref: CheckRef, watched: Watched) -> Drift:
        """Read in a transaction of its own, and calculated in none: that takes seconds."""
        if watched.baseline is None:
            watched = await self._with_baseline(ref, watched)
        latest = await self._sample(ref, watched, LATEST)
        return await asyncio.to_thread(drift_of, ref.order, watched, latest)

    async def _with_baseline(self, ref: CheckRef, watched: Watched) -> Watched:
        """The first scores of a model are looked for until there are enough of them to keep."""
        first = await self._sample(ref, watched, FIRST)
        baseline = await asyncio.to_thread(baseline_of, first, ref.order.least)
        if baseline is not None and is_lasting(baseline):
            kept = Jsonb(baseline.model_dump(mode="json"))
            values = {"tenant": ref.run.tenant_id, "model": watched.model, "baseline": kept}
            async with self._database.transaction(ref.run.tenant_id) as connection:
                await connection.execute(_KEEP_BASELINE, values)
        return watched.model_copy(update={"baseline": baseline})

    async def _sample(self, ref: CheckRef, watched: Watched, query: str) -> list[Seen]:
        values = _window(ref) | {"model": watched.model, "most": _MOST, "deepest": _DEEPEST}
        async with self._database.transaction(ref.run.tenant_id) as connection:
            rows = await many(connection, query, values)
        return await asyncio.to_thread(_seen, rows)

    async def find(self, caller: Principal, *, cursor: str | None, limit: int) -> Page[Check]:
        """Checks, the latest first."""
        time, after = cursors.decode_place(cursor)
        values = {"tenant": caller.tenant_id, "run": None, "time": time, "after": after}
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await many(connection, _LIST, values | {"limit": limit + 1})
        found = [Check.model_validate(row) for row in rows[:limit]]
        last = found[-1] if len(rows) > limit else None
        following = cursors.encode(last.created_at.isoformat(), last.run_id) if last else None
        return Page(items=found, next_cursor=following)

    async def read(self, caller: Principal, run_id: str) -> Check:
        """One check; raises NotFound (`check_unknown`)."""
        values = {"tenant": caller.tenant_id, "run": run_id, "time": None, "after": None}
        async with self._database.transaction(caller.tenant_id) as connection:
            row = await one(connection, _LIST, values | {"limit": 1})
        if row is None:
            raise NotFound("There is no such check.", code="check_unknown")
        return Check.model_validate(row)


async def _fairness(connection: Connection, tenant_id: str, order: CheckOrder) -> Fairness | None:
    if order.attribute is None:
        return None
    values = {
        "tenant": tenant_id,
        "path": order.attribute.split("."),
        "seconds": order.days * 86_400,
        "selected_from": order.selected_from,
    }
    rows = await many(connection, _GROUPS, values)
    groups = {row["value"]: (row["leads"], row["mean"], row["selected"]) for row in rows}
    return fairness_of(order, groups)


async def _keep(connection: Connection, ref: CheckRef, found: dict[str, Any], alerts: int) -> None:
    values = {
        "tenant": ref.run.tenant_id,
        "run": ref.run.run_id,
        "orders": Jsonb(ref.order.model_dump(mode="json")),
        "drift": Jsonb(found["drift"]),
        "fairness": Jsonb(found["fairness"]) if found["fairness"] else None,
        "alerts": alerts,
    }
    await connection.execute(_KEEP, values)


def _window(ref: CheckRef) -> dict[str, Any]:
    return {"tenant": ref.run.tenant_id, "seconds": ref.order.days * 86_400}


def _seen(rows: list[dict[str, Any]]) -> list[Seen]:
    return [(row["score"], orjson.loads(row["features"])) for row in rows]
