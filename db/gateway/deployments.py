"""Deployments: quotas, breakers and health, which the whole fleet shares."""

import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from db.session import Connection, many, one
from domain.gateway.calls import CallSettlement, NewModelCall
from domain.gateway.errors import ModelBusy, RouteDown
from domain.gateway.routes import Candidate, Health
from domain.settings import Settings

# While a quota is short, batch work may use so much of it; the rest is for those who wait.
_BATCH_SHARE = 0.7
_PROBE_SECONDS = 30
_QUOTA = "quota"

_ENTER = """
-- The number of the first deployment, from 1, that is well and has quota left, which is taken; 0 if
-- there is none. Locks its meter, and of a half-open one its health, until the transaction ends.
SELECT e.place AS number, e.refusals, e.wait_ms
FROM enter_deployment(%(names)s, %(requests)s::int[], %(tokens)s::int[], %(needed)s,
    %(share)s, make_interval(secs => %(probe)s)) AS e
"""


async def enter(
    connection: Connection, call: NewModelCall, settings: Settings
) -> tuple[int, dict[str, str]]:
    """Return the index of the first candidate that may be asked now, and why those before it may
    not.

    Its quota is taken with the transaction. Raises ModelBusy; RouteDown if no quota is the reason.
    """
    quota = {
        "needed": call.input_tokens + call.output_tokens,
        "share": _BATCH_SHARE if call.origin.batch else 1.0,
    }
    await _enter_tenant(connection, call.origin.tenant_id, settings, quota)
    values = quota | _limits(call.candidates) | {"probe": _PROBE_SECONDS}
    row = await one(connection, _ENTER, values)
    assert row is not None
    names = (candidate.name for candidate in call.candidates)
    refusals = dict(zip(names, row["refusals"], strict=False))
    if not row["number"]:
        raise _busy(refusals, row["wait_ms"])
    return row["number"] - 1, refusals


def _limits(candidates: Sequence[Candidate]) -> dict[str, Any]:
    deployments = [candidate.deployment for candidate in candidates]
    return {
        "names": [candidate.name for candidate in candidates],
        "requests": [deployment.requests_per_minute for deployment in deployments],
        "tokens": [deployment.tokens_per_minute for deployment in deployments],
    }


_TENANT_QUOTA = """
-- Takes a tenant's quota of this minute, or gives the milliseconds to wait for it. Locks its meter.
SELECT take_quota('tenant:' || %(tenant)s::text, %(requests)s, %(tokens)s, %(needed)s, %(share)s)
    AS wait_ms
"""


async def _enter_tenant(
    connection: Connection, tenant_id: str, settings: Settings, quota: dict[str, Any]
) -> None:
    requests, tokens = settings.tenant_requests_per_minute, settings.tenant_tokens_per_minute
    if not requests and not tokens:
        return
    limits = {"tenant": tenant_id, "requests": requests, "tokens": tokens}
    row = await one(connection, _TENANT_QUOTA, quota | limits)
    if row and row["wait_ms"]:
        detail = "This tenant's quota of this minute is spent."
        raise ModelBusy(detail, retry_after=_wait(row["wait_ms"]))


def _busy(refusals: Mapping[str, str], wait_ms: int | None) -> ModelBusy:
    reasons = ", ".join(f"{name}: {reason}" for name, reason in refusals.items())
    kind = ModelBusy if _QUOTA in refusals.values() else RouteDown
    detail = f"No deployment may be asked now ({reasons})."
    return kind(detail, retry_after=_wait(wait_ms))


def _wait(wait_ms: int | None) -> timedelta:
    """Add jitter, so that those who wait do not come back all at once."""
    return timedelta(milliseconds=(wait_ms or 1000) + random.randrange(1000))


_NOTE = """
-- Counts an outcome in the deployment's window; true if that has opened its breaker. Locks its row.
SELECT note_outcome(%(deployment)s, %(healthy)s, %(first_ms)s, %(minimum)s, %(error_rate)s,
    make_interval(secs => %(pause)s),
    CASE WHEN %(blocked)s::float8 IS NULL THEN NULL ELSE make_interval(secs => %(blocked)s::float8)
    END) AS opened
"""


async def note(connection: Connection, settlement: CallSettlement, settings: Settings) -> bool:
    """Count a call's outcome in its deployment's window; return whether it has opened the
    breaker."""
    values = {
        "deployment": settlement.deployment,
        "healthy": settlement.healthy,
        "first_ms": settlement.first_token_ms,
        "blocked": settlement.blocked_seconds,
        "minimum": settings.breaker_minimum,
        "error_rate": settings.breaker_error_rate,
        "pause": settings.breaker_seconds,
    }
    row = await one(connection, _NOTE, values)
    return bool(row and row["opened"])


_HEALTH = """
-- What the fleet has seen of these deployments; locks nothing.
SELECT * FROM health_of(%(names)s)
"""


async def health(connection: Connection, names: Sequence[str]) -> dict[str, Health]:
    """Return the health of these deployments; those that nobody has asked are left out."""
    rows = await many(connection, _HEALTH, {"names": list(names)})
    return {row["name"]: Health.model_validate(row) for row in rows}
