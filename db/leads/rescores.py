"""Rescores: a change of a lead requests one new score, however many changes follow at once."""

import uuid
from typing import Any, NamedTuple

from db.runs import lifecycle
from db.session import Connection, one
from domain.runs.runs import EndedRun, Outcome, RunEnd, RunRef, RunSpec
from domain.scoring import scores

# A change waits for those that follow it; a lead that keeps changing is scored less often.
_DELAY_SECONDS = 0.4
_BUSY_DELAY_SECONDS = 5.0


async def request(
    connection: Connection, tenant_id: str, user_id: str, lead_id: str
) -> RunSpec | None:
    """Request a score in the transaction of the change; return None if one is pending that will
    see it, or if the tenant wants none."""
    if not await _is_enabled(connection, tenant_id):
        return None
    await _lock(connection, tenant_id, lead_id)
    last = await _last_request(connection, tenant_id, lead_id)
    if last.pending:
        return None
    delay = _BUSY_DELAY_SECONDS if last.busy else _DELAY_SECONDS
    run_id = scores.score_run_id(lead_id, f"auto-{uuid.uuid4().hex[:12]}")
    run = RunRef(tenant_id=tenant_id, run_id=run_id)
    spec = scores.score_spec(run, user_id, lead_id, "the lead has changed", delay=delay)
    await _record(connection, run, lead_id)
    await lifecycle.accept(connection, spec)
    return spec


_ENABLED = """
-- Say whether a tenant's changes rescore leads; without settings they do.
SELECT rescore FROM scoring_settings WHERE tenant_id = %(tenant)s
"""


async def _is_enabled(connection: Connection, tenant_id: str) -> bool:
    row = await one(connection, _ENABLED, {"tenant": tenant_id})
    return row is None or bool(row["rescore"])


_LOCK = """
-- Lock the requests of one lead until the transaction ends: of two changes at once the second
-- finds the run that the first has requested.
SELECT pg_advisory_xact_lock(hashtextextended(%(tenant)s || '/rescore/' || %(lead)s, 0))
"""


async def _lock(connection: Connection, tenant_id: str, lead_id: str) -> None:
    await connection.execute(_LOCK, {"tenant": tenant_id, "lead": lead_id})


class _LastRequest(NamedTuple):
    """The last request of a lead: whether its run is pending, and whether many came lately."""

    busy: bool = False
    pending: bool = False


_LAST_REQUEST = """
-- Read and lock the last request of a lead, of which there may be none.
SELECT streak >= 5 AND requested_at > now() - interval '10 seconds' AS busy,
    EXISTS (SELECT FROM runs r WHERE r.tenant_id = q.tenant_id AND r.id = q.run_id
        AND r.finished_at IS NULL AND NOT r.cancelling) AS pending
FROM score_requests q WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s FOR UPDATE
"""


async def _last_request(connection: Connection, tenant_id: str, lead_id: str) -> _LastRequest:
    row = await one(connection, _LAST_REQUEST, {"tenant": tenant_id, "lead": lead_id})
    return _LastRequest(**row) if row else _LastRequest()


_RECORD = """
-- Record the run that a lead's last change has requested, and count changes in quick succession.
INSERT INTO score_requests (tenant_id, lead_id, run_id) VALUES (%(tenant)s, %(lead)s, %(run)s)
ON CONFLICT (tenant_id, lead_id) DO UPDATE SET run_id = excluded.run_id, requested_at = now(),
    streak = CASE WHEN score_requests.requested_at > now() - interval '10 seconds'
        THEN score_requests.streak + 1 ELSE 0 END
"""


async def _record(connection: Connection, run: RunRef, lead_id: str) -> None:
    await connection.execute(_RECORD, run.key | {"lead": lead_id})


_TAKE = """
-- Forget the request that this run was accepted for, so that a later change requests another.
UPDATE score_requests SET run_id = NULL
WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s AND run_id = %(run)s
"""


async def take(connection: Connection, run: RunRef, lead_id: str) -> None:
    """Let changes from here on request another score: what this run reads comes after this."""
    await connection.execute(_TAKE, run.key | {"lead": lead_id})


async def end(connection: Connection, end: RunEnd) -> EndedRun:
    """End a score that did not end itself. If nobody has looked at the change that it was for,
    another score is requested, unless the first was cancelled."""
    ended = await lifecycle.end(connection, end)
    if ended.outcome in (Outcome.COMPLETED, Outcome.CANCELLED):
        return ended
    another = await _renew(connection, end.run)
    return ended.model_copy(update={"next_run": another.run.run_id}) if another else ended


_LEFT = """
-- Read the request that a run has left without a look at the change.
SELECT q.lead_id, r.user_id FROM score_requests q
JOIN runs r ON r.tenant_id = q.tenant_id AND r.id = q.run_id
WHERE q.tenant_id = %(tenant)s AND q.run_id = %(run)s
"""


async def _renew(connection: Connection, run: RunRef) -> RunSpec | None:
    """Request another score if this run has ended without a look at the change it was for."""
    left: dict[str, Any] | None = await one(connection, _LEFT, run.key)
    if left is None:
        return None
    return await request(connection, run.tenant_id, left["user_id"], left["lead_id"])
