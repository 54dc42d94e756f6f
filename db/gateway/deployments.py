"""Deployments: quotas, breakers and health, which the whole fleet shares."""

import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from db.session import Connection, many, one
from domain.errors import ModelFailed
from domain.gateway.calls import CallEnding, CallOpening
from domain.gateway.routes import Health
from domain.settings import Settings

# While a quota is short, batch work may use so much of it; the rest is for those who wait.
_BATCH_SHARE = 0.7
_PROBE_SECONDS = 30
_TENANT_QUOTA = """
SELECT take_quota('tenant:' || %(tenant)s, %(requests)s, %(tokens)s, %(wanted)s, %(share)s) AS wait
"""
_ENTER = """
SELECT * FROM enter_deployment(%(names)s, %(requests)s::int[], %(tokens)s::int[], %(wanted)s,
    %(share)s, make_interval(secs => %(probe)s))
"""
_NOTE = """
SELECT note_outcome(%(deployment)s, %(healthy)s, %(first_ms)s, %(minimum)s, %(error_rate)s,
    make_interval(secs => %(pause)s),
    CASE WHEN %(blocked)s::float8 IS NULL THEN NULL ELSE make_interval(secs => %(blocked)s::float8)
    END) AS opened
"""
_HEALTH = "SELECT * FROM health_of(%(names)s)"


async def enter(
    connection: Connection, opening: CallOpening, settings: Settings
) -> tuple[int, dict[str, str]]:
    """The place of the first candidate that may be asked now, and why those before it may not.

    Its quota is taken with the transaction. Raises ModelFailed (`model_busy`).
    """
    quota = {
        "wanted": opening.input_tokens + opening.output_tokens,
        "share": _BATCH_SHARE if opening.origin.batch else 1.0,
    }
    await _enter_tenant(connection, opening.origin.tenant_id, settings, quota)
    names = [candidate.name for candidate in opening.candidates]
    deployments = [candidate.deployment for candidate in opening.candidates]
    limits: dict[str, Any] = {
        "names": names,
        "requests": [deployment.requests_per_minute for deployment in deployments],
        "tokens": [deployment.tokens_per_minute for deployment in deployments],
        "probe": _PROBE_SECONDS,
    }
    row = await one(connection, _ENTER, quota | limits)
    assert row is not None
    refusals = dict(zip(names, row["refusals"], strict=False))
    if not row["place"]:
        told = ", ".join(f"{name}: {why}" for name, why in refusals.items())
        raise _busy(f"No deployment may be asked now ({told}).", row["wait_ms"], refusals)
    return row["place"] - 1, refusals


async def note(connection: Connection, ending: CallEnding, settings: Settings) -> bool:
    """Count a call's ending in its deployment's window; True if it has opened the breaker."""
    values = {
        "deployment": ending.deployment,
        "healthy": ending.healthy,
        "first_ms": ending.first_token_ms,
        "blocked": ending.blocked_seconds,
        "minimum": settings.breaker_minimum,
        "error_rate": settings.breaker_error_rate,
        "pause": settings.breaker_seconds,
    }
    row = await one(connection, _NOTE, values)
    return bool(row and row["opened"])


async def health(connection: Connection, names: Sequence[str]) -> dict[str, Health]:
    """What the fleet knows of these deployments; those that nobody has asked are left out."""
    rows = await many(connection, _HEALTH, {"names": list(names)})
    return {row["name"]: Health.model_validate(row) for row in rows}


async def _enter_tenant(
    connection: Connection, tenant_id: str, settings: Settings, quota: dict[str, Any]
) -> None:
    requests, tokens = settings.tenant_requests_per_minute, settings.tenant_tokens_per_minute
    if not requests and not tokens:
        return
    limits = {"tenant": tenant_id, "requests": requests, "tokens": tokens}
    row = await one(connection, _TENANT_QUOTA, quota | limits)
    if row and row["wait"]:
        raise _busy("This tenant's quota of this minute is spent.", row["wait"], {})


def _busy(detail: str, wait_ms: int | None, refusals: Mapping[str, str]) -> ModelFailed:
    """Jitter keeps those who wait from coming back all at once. `down`: no quota is the reason."""
    wait = timedelta(milliseconds=(wait_ms or 1000) + random.randrange(1000))
    down = bool(refusals) and "quota" not in refusals.values()
    return ModelFailed(detail, code="model_busy", retry_after=wait, down=int(down))
