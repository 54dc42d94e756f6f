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
from db.session import Connection, Database, many
from domain.base import Page
from domain.identity.principals import Principal
from domain.runs.attempts import Attempt
from domain.runs.errors import RunFinished
from domain.runs.events import EventType, NewEvent
from domain.runs.runs import Outcome, RunEnd
from domain.scoring.checks import (
    Check,
    CheckRef,
    CheckRequest,
    CheckResult,
    Drift,
    Fairness,
    MonitoredModel,
    Observation,
    alerts_of,
    baseline_of,
    drift_of,
    fairness_of,
    is_lasting,
)
from domain.scoring.errors import CheckUnknown
from domain.scoring.models import BUILT_IN, Baseline, ModelKind

_SAMPLE_LEADS, _MAX_DEPTH = 20_000, 1_000_000


class Checks:
    """The checks of tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check(self, ref: CheckRef, attempt: Attempt) -> CheckResult:
        """Check the scores of the last days; then store the report, raise alerts, and end the run,
        in one transaction."""
        run, request = ref.run, ref.request
        async with self._database.transaction(run.tenant_id) as connection:
            try:
                await lifecycle.begin(connection, run, Fence(1, attempt.number))
            except RunFinished:
                return CheckResult(outcome=await lifecycle.outcome_of(connection, run))
        drift = [await self._drift_of(ref, model) for model in await self._models(ref)]
        async with self._database.transaction(run.tenant_id) as connection:
            fairness = await _fairness(connection, run.tenant_id, request)
            alerts = alerts_of(run.run_id, request, drift, fairness)
            for alert in alerts:
                await raise_alert(connection, run.tenant_id, alert.kind, alert.subject, alert.data)
            report = {
                "drift": [each.model_dump() for each in drift],
                "fairness": fairness.model_dump() if fairness else None,
            }
            await _store(connection, ref, report, len(alerts))
            event = NewEvent(type=EventType.CHECK_REPORTED, data=report)
            await event_log.append(connection, run, 1, attempt.number, [event])
            end = RunEnd(run=run, outcome=Outcome.COMPLETED, result={"alerts": len(alerts)})
            ended = await lifecycle.end(connection, end)
        return CheckResult(outcome=ended.outcome, alerts=len(alerts))

    async def find(self, caller: Principal, *, cursor: str | None, limit: int) -> Page[Check]:
        """Return a page of checks, the latest first. Raises CursorInvalid."""
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await _select(connection, caller.tenant_id, None, cursor, limit + 1)
        return cursors.page(
            rows, limit, Check.model_validate, key=lambda row: (row["created_at"], row["run_id"])
        )

    async def read(self, caller: Principal, run_id: str) -> Check:
        """Return one check. Raises CheckUnknown."""
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await _select(connection, caller.tenant_id, run_id, None, 1)
        if not rows:
            raise CheckUnknown(run_id=run_id)
        return Check.model_validate(rows[0])

    async def _models(self, ref: CheckRef) -> list[MonitoredModel]:
        async with self._database.transaction(ref.run.tenant_id) as connection:
            return await _models(connection, ref)

    async def _drift_of(self, ref: CheckRef, model: MonitoredModel) -> Drift:
        """Read in a transaction of its own, and calculate in none: that takes seconds."""
        if model.baseline is None:
            model = await self._with_baseline(ref, model)
        async with self._database.transaction(ref.run.tenant_id) as connection:
            rows = await _latest(connection, ref, model)
        observations = await asyncio.to_thread(_observations, rows)
        return await asyncio.to_thread(drift_of, ref.request, model, observations)

    async def _with_baseline(self, ref: CheckRef, model: MonitoredModel) -> MonitoredModel:
        """Compare with the first scores of a model; once they are enough, they are stored."""
        tenant_id = ref.run.tenant_id
        async with self._database.transaction(tenant_id) as connection:
            rows = await _first(connection, ref, model)
        observations = await asyncio.to_thread(_observations, rows)
        baseline = await asyncio.to_thread(baseline_of, observations, ref.request.min_leads)
        if baseline is not None and is_lasting(baseline):
            async with self._database.transaction(tenant_id) as connection:
                await _store_baseline(connection, tenant_id, model, baseline)
        return model.model_copy(update={"baseline": baseline})


MODELS = """
-- Read the models whose scores were visible in the window, by one look at the index
-- `scores_by_model` for each: their scores are not read.
SELECT m.model, m.trained, m.baseline FROM (
    SELECT name || '.' || version AS model, kind = %(learned)s AS trained, baseline
    FROM scoring_models WHERE tenant_id = %(tenant)s
    UNION ALL SELECT %(built_in)s, false, NULL) AS m
CROSS JOIN LATERAL (
    SELECT FROM scores s WHERE s.tenant_id = %(tenant)s AND s.model_version = m.model
      AND s.visible AND s.calculated_at > now() - make_interval(secs => %(seconds)s)
    ORDER BY s.calculated_at LIMIT 1) AS used
ORDER BY 1
"""


async def _models(connection: Connection, ref: CheckRef) -> list[MonitoredModel]:
    values = _window(ref) | {"learned": ModelKind.LEARNED.value, "built_in": BUILT_IN}
    return [MonitoredModel.model_validate(row) for row in await many(connection, MODELS, values)]


def _sample_sql(purpose: str, which: str, side: str, direction: str) -> str:
    # A batch goes by the leads' ids: the sample, by their hashes, is out of many more scores.
    return f"""
-- {purpose} By the index `scores_by_model`, which gives the sample and then its features.
SELECT c.score, c.features::text AS features FROM (
    SELECT lead_id, {which}(calculated_at) AS calculated_at FROM (
        SELECT lead_id, calculated_at FROM scores
        WHERE tenant_id = %(tenant)s AND model_version = %(model)s AND visible
          AND calculated_at {side} now() - make_interval(secs => %(seconds)s)
        ORDER BY calculated_at {direction} LIMIT %(depth)s) AS near
    GROUP BY lead_id ORDER BY hashtext(lead_id) LIMIT %(leads)s) AS sample
CROSS JOIN LATERAL (
    SELECT score, features FROM scores s
    WHERE s.tenant_id = %(tenant)s AND s.model_version = %(model)s AND s.visible
      AND s.calculated_at = sample.calculated_at AND s.lead_id = sample.lead_id LIMIT 1) AS c
"""


LATEST = _sample_sql("Sample the latest scores of leads in the window.", "max", ">", "DESC")


async def _latest(connection: Connection, ref: CheckRef, model: MonitoredModel) -> list[Any]:
    return await many(connection, LATEST, _sample(ref, model))


FIRST = _sample_sql("Sample the first scores of leads before the window.", "min", "<=", "ASC")


async def _first(connection: Connection, ref: CheckRef, model: MonitoredModel) -> list[Any]:
    return await many(connection, FIRST, _sample(ref, model))


def _sample(ref: CheckRef, model: MonitoredModel) -> dict[str, Any]:
    return _window(ref) | {"model": model.model, "leads": _SAMPLE_LEADS, "depth": _MAX_DEPTH}


_STORE_BASELINE = """
-- Store the baseline of a model that has none. Locks its row.
UPDATE scoring_models SET baseline = %(baseline)s
WHERE tenant_id = %(tenant)s AND name || '.' || version = %(model)s AND baseline IS NULL
"""


async def _store_baseline(
    connection: Connection, tenant_id: str, model: MonitoredModel, baseline: Baseline
) -> None:
    values = {"tenant": tenant_id, "model": model.model}
    json = Jsonb(baseline.model_dump(mode="json"))
    await connection.execute(_STORE_BASELINE, values | {"baseline": json})


_GROUPS = """
-- Read the two hundred largest groups of leads by a field, with their current scores.
SELECT coalesce(l.profile #>> %(path)s::text[], '(unknown)') AS value, count(*) AS leads,
    avg(s.score) AS mean, count(*) FILTER (WHERE s.score >= %(selected_from)s) AS selected
FROM current_scores s JOIN leads l ON l.tenant_id = s.tenant_id AND l.id = s.lead_id
WHERE s.tenant_id = %(tenant)s AND s.calculated_at > now() - make_interval(secs => %(seconds)s)
GROUP BY 1 ORDER BY 2 DESC LIMIT 200
"""


async def _fairness(
    connection: Connection, tenant_id: str, request: CheckRequest
) -> Fairness | None:
    if request.attribute is None:
        return None
    values = {
        "tenant": tenant_id,
        "path": request.attribute.split("."),
        "seconds": request.days * 86_400,
        "selected_from": request.selected_from,
    }
    rows = await many(connection, _GROUPS, values)
    groups = {row["value"]: (row["leads"], row["mean"], row["selected"]) for row in rows}
    return fairness_of(request, groups)


_STORE = """
-- Store the report of a check, once.
INSERT INTO checks (tenant_id, run_id, request, drift, fairness, alerts)
VALUES (%(tenant)s, %(run)s, %(request)s, %(drift)s, %(fairness)s, %(alerts)s)
ON CONFLICT DO NOTHING
"""


async def _store(
    connection: Connection, ref: CheckRef, report: dict[str, Any], alerts: int
) -> None:
    values = ref.run.key | {
        "request": Jsonb(ref.request.model_dump(mode="json")),
        "drift": Jsonb(report["drift"]),
        "fairness": Jsonb(report["fairness"]) if report["fairness"] else None,
        "alerts": alerts,
    }
    await connection.execute(_STORE, values)


_SELECT = """
-- Read checks, the latest first: one of them, or a page.
SELECT run_id, request, drift, fairness, alerts, created_at FROM checks
WHERE tenant_id = %(tenant)s AND (%(run)s::text IS NULL OR run_id = %(run)s)
  AND (%(time)s::timestamptz IS NULL
    OR (created_at, run_id) < (%(time)s::timestamptz, %(after)s))
ORDER BY created_at DESC, run_id DESC LIMIT %(limit)s
"""


async def _select(
    connection: Connection, tenant_id: str, run_id: str | None, cursor: str | None, limit: int
) -> list[dict[str, Any]]:
    time, after = cursors.decode_place(cursor)
    values = {"tenant": tenant_id, "run": run_id, "time": time, "after": after, "limit": limit}
    return await many(connection, _SELECT, values)


def _window(ref: CheckRef) -> dict[str, Any]:
    return {"tenant": ref.run.tenant_id, "seconds": ref.request.days * 86_400}


def _observations(rows: list[dict[str, Any]]) -> list[Observation]:
    return [(row["score"], orjson.loads(row["features"])) for row in rows]
