"""Rescores: a change of a lead asks for one new score, however many changes follow at once."""

import uuid
from typing import Any

from db.runs import lifecycle
from db.session import Connection, one
from domain.runs.runs import EndedRun, Outcome, RunEnd, RunRef, RunSpec
from domain.scoring import scores

# A change waits for those that follow it; a lead that keeps changing is scored less often.
_DELAY_SECONDS = 0.4
_BUSY_DELAY_SECONDS = 5.0
_ASKED = """
SELECT streak >= 5 AND requested_at > now() - interval '10 seconds' AS busy,
    EXISTS (SELECT FROM runs r WHERE r.tenant_id = q.tenant_id AND r.id = q.run_id
        AND r.finished_at IS NULL AND NOT r.cancelling) AS pending
FROM score_requests q WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s FOR UPDATE
"""
_ASK = """
INSERT INTO score_requests (tenant_id, lead_id, run_id) VALUES (%(tenant)s, %(lead)s, %(run)s)
ON CONFLICT (tenant_id, lead_id) DO UPDATE SET run_id = excluded.run_id, requested_at = now(),
    streak = CASE WHEN score_requests.requested_at > now() - interval '10 seconds'
        THEN score_requests.streak + 1 ELSE 0 END
"""
_TAKE = """
UPDATE score_requests SET run_id = NULL
WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s AND run_id = %(run)s
"""
_LEFT = """
SELECT q.lead_id, r.user_id FROM score_requests q
JOIN runs r ON r.tenant_id = q.tenant_id AND r.id = q.run_id
WHERE q.tenant_id = %(tenant)s AND q.run_id = %(run)s
"""
_WANTED = "SELECT rescore FROM scoring_settings WHERE tenant_id = %(tenant)s"
# Two changes of one lead at once: the second finds the run that the first has asked for.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%(tenant)s || '/rescore/' || %(lead)s, 0))"


async def request(
    connection: Connection, tenant_id: str, user_id: str, lead_id: str
) -> RunSpec | None:
    """Ask for a score, in the transaction of the change; None if one is coming that will see it,
    or if the tenant wants none."""
    values = {"tenant": tenant_id, "lead": lead_id}
    wanted = await one(connection, _WANTED, values)
    if wanted is not None and not wanted["rescore"]:
        return None
    await connection.execute(_LOCK, values)
    asked = await one(connection, _ASKED, values)
    if asked is not None and asked["pending"]:
        return None
    busy = asked is not None and asked["busy"]
    delay = _BUSY_DELAY_SECONDS if busy else _DELAY_SECONDS
    run_id = scores.score_run(lead_id, f"auto-{uuid.uuid4().hex[:12]}")
    run = RunRef(tenant_id=tenant_id, run_id=run_id)
    spec = scores.launch_of(run, user_id, lead_id, "the lead has changed", delay=delay)
    await connection.execute(_ASK, values | {"run": run_id})
    await lifecycle.accept(connection, spec)
    return spec


async def take(connection: Connection, run: RunRef, lead_id: str) -> None:
    """From here on a change asks for another score: what this run reads comes after this."""
    values: dict[str, Any] = {"tenant": run.tenant_id, "lead": lead_id, "run": run.run_id}
    await connection.execute(_TAKE, values)


async def end(connection: Connection, end: RunEnd) -> EndedRun:
    """End a score that did not end itself. If nobody has looked at the change that it was for,
    another score is asked for, unless the first was cancelled."""
    ended = await lifecycle.end(connection, end)
    if ended.outcome in (Outcome.COMPLETED, Outcome.CANCELLED):
        return ended
    another = await _renew(connection, end.run)
    return ended.model_copy(update={"next_run": another.run.run_id}) if another else ended


async def _renew(connection: Connection, run: RunRef) -> RunSpec | None:
    values: dict[str, Any] = {"tenant": run.tenant_id, "run": run.run_id}
    left = await one(connection, _LEFT, values)
    if left is None:
        return None
    return await request(connection, run.tenant_id, left["user_id"], left["lead_id"])
