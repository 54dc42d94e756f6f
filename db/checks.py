"""Checks: the scores of the last days compared with the training window and between groups."""

import asyncio
from typing import Any

import orjson
from psycopg.types.json import Jsonb

from db import cursors, launches, ledger
from db.alerts import raise_alert
from db.session import Connection, Database, many, one
from domain.alerts import AlertKind
from domain.auth import Principal
from domain.base import Page
from domain.chat import Attempt
from domain.checks import (
    Check,
    CheckOrder,
    CheckRef,
    CheckResult,
    Drift,
    Fairness,
    drift_of,
    fairness_of,
    histogram,
    launch_of,
    score_histogram,
)
from domain.errors import NotFound
from domain.events import EventType, NewEvent
from domain.runs import Outcome, RunClosing, RunRef
from domain.scoring_models import Baseline

_MOST = 20_000
_MODELS = """
SELECT c.model_version AS model, m.baseline FROM (
    SELECT DISTINCT model_version FROM lead_scores WHERE tenant_id = %(tenant)s AND shown
      AND calculated_at > now() - make_interval(secs => %(seconds)s)) AS c
LEFT JOIN scoring_models m ON m.tenant_id = %(tenant)s
    AND m.name || '.' || m.version = c.model_version
ORDER BY 1
"""
# A sample that does not depend on how leads are called.
_LATEST = """
SELECT score, features FROM (
    SELECT DISTINCT ON (lead_id) lead_id, score, features::text AS features FROM lead_scores
    WHERE tenant_id = %(tenant)s AND model_version = %(model)s AND shown
      AND calculated_at > now() - make_interval(secs => %(seconds)s)
    ORDER BY lead_id, calculated_at DESC) AS latest
ORDER BY hashtext(lead_id) LIMIT %(most)s
"""
# Rules were not trained: what they said first is what later scores are compared with.
_FIRST = """
SELECT score, features FROM (
    SELECT DISTINCT ON (lead_id) lead_id, score, features::text AS features, calculated_at
    FROM lead_scores
    WHERE tenant_id = %(tenant)s AND model_version = %(model)s AND shown
      AND calculated_at <= now() - make_interval(secs => %(seconds)s)
    ORDER BY lead_id, calculated_at) AS first
ORDER BY calculated_at LIMIT %(most)s
"""
_GROUPS = """
SELECT coalesce(l.profile #>> %(path)s::text[], '(unknown)') AS value, count(*) AS leads,
    avg(s.score) AS mean, count(*) FILTER (WHERE s.score >= %(selected_from)s) AS selected
FROM lead_standings s JOIN leads l ON l.tenant_id = s.tenant_id AND l.id = s.lead_id
WHERE s.tenant_id = %(tenant)s AND s.calculated_at > now() - make_interval(secs => %(seconds)s)
GROUP BY 1 ORDER BY 2 DESC LIMIT 200
"""
_KEEP = """
INSERT INTO score_checks (tenant_id, run_id, orders, drift, fairness, alerts)
VALUES (%(tenant)s, %(run)s, %(orders)s, %(drift)s, %(fairness)s, %(alerts)s)
ON CONFLICT DO NOTHING
"""
_COLUMNS = 'run_id, orders AS "order", drift, fairness, alerts, created_at'
_LIST = f"""
SELECT {_COLUMNS} FROM score_checks WHERE tenant_id = %(tenant)s
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
            await launches.accept(connection, launch_of(run, ref.user_id, order))
            if await launches.begin(connection, run, attempt.number, None, "") is None:
                return CheckResult(outcome=await launches.refusal(connection, run))
        drift = [await self._drift_of(run.tenant_id, order, row) for row in await self._models(ref)]
        async with self._database.transaction(run.tenant_id) as connection:
            fairness = await _fairness(connection, run.tenant_id, order)
            alerts = await _alert(connection, run, order, drift, fairness)
            found = {
                "drift": [each.model_dump() for each in drift],
                "fairness": fairness.model_dump() if fairness else None,
            }
            await _keep(connection, ref, found, alerts)
            event = NewEvent(type=EventType.CHECK_REPORTED, data=found)
            await ledger.append(connection, run, 1, attempt.number, [event])
            ending = RunClosing(run=run, outcome=Outcome.COMPLETED, result={"alerts": alerts})
            closed = await launches.close(connection, ending)
        return CheckResult(outcome=closed.outcome, alerts=alerts)

    async def _models(self, ref: CheckRef) -> list[dict[str, Any]]:
        values = {"tenant": ref.run.tenant_id, "seconds": ref.order.days * 86_400}
        async with self._database.transaction(ref.run.tenant_id) as connection:
            return await many(connection, _MODELS, values)

    async def _drift_of(self, tenant_id: str, order: CheckOrder, row: dict[str, Any]) -> Drift:
        """Read in a transaction of its own, and calculated in none: that takes seconds."""
        values = {"tenant": tenant_id, "model": row["model"], "most": _MOST}
        values |= {"seconds": order.days * 86_400}
        async with self._database.transaction(tenant_id) as connection:
            latest = await many(connection, _LATEST, values)
            first = [] if row["baseline"] else await many(connection, _FIRST, values)
        return await asyncio.to_thread(_drift, row["model"], row["baseline"], order, latest, first)

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


def _drift(
    model: str,
    kept: Any,
    order: CheckOrder,
    latest: list[dict[str, Any]],
    first: list[dict[str, Any]],
) -> Drift:
    features, scores = _columns(latest)
    source = "training" if kept else "first scores"
    baseline = Baseline.model_validate(kept) if kept else _first(first, order.least)
    if len(scores) < order.least:
        baseline = None
    return drift_of(model, baseline, source, features, scores)


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


async def _alert(
    connection: Connection,
    run: RunRef,
    order: CheckOrder,
    drift: list[Drift],
    fairness: Fairness | None,
) -> int:
    raised = 0
    for each in drift:
        moved = {name: psi for name, psi in each.features.items() if psi > order.psi_limit}
        if each.score is not None and each.score > order.psi_limit:
            moved["score"] = each.score
        if moved:
            data = {"run_id": run.run_id, "psi": moved, "limit": order.psi_limit}
            await raise_alert(
                connection, run.tenant_id, AlertKind.SCORES_DRIFTED, each.model_version, data
            )
            raised += 1
    for group in fairness.groups if fairness else ():
        if group.ratio < order.ratio_limit:
            data = {"run_id": run.run_id, "ratio": group.ratio, "limit": order.ratio_limit}
            subject = f"{order.attribute}={group.value}"
            await raise_alert(connection, run.tenant_id, AlertKind.SCORES_UNFAIR, subject, data)
            raised += 1
    return raised


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


def _first(rows: list[dict[str, Any]], least: int) -> Baseline | None:
    if len(rows) < least:
        return None
    features, scores = _columns(rows)
    shapes = {name: histogram(column) for name, column in features.items()}
    return Baseline(features=shapes, score=score_histogram(scores))


def _columns(rows: list[dict[str, Any]]) -> tuple[dict[str, list[Any]], list[float]]:
    """Feature by feature what leads had, and their scores."""
    read = [orjson.loads(row["features"]) for row in rows]
    names = sorted({name for features in read for name in features})
    columns = {name: [features.get(name) for features in read] for name in names}
    return columns, [row["score"] for row in rows]
