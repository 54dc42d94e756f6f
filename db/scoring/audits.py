"""Score audits: every score with its inputs, by lead and by period."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from db.identity import audit
from db.session import Connection, Database, many
from domain.identity.principals import Principal
from domain.scoring.scores import LeadScored

_PAGE = 500


class ScoreAudits:
    """The audit trail of a tenant's scores."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rows(
        self,
        caller: Principal,
        *,
        lead_id: str | None,
        first: datetime | None,
        last: datetime | None,
    ) -> AsyncIterator[LeadScored]:
        """Yield scores in the order of time, page by page, and audit the export itself."""
        values: dict[str, Any] = {"tenant": caller.tenant_id, "lead": lead_id, "page": _PAGE}
        values |= {"first": first, "last": last}
        values |= dict.fromkeys(("time", "after_lead", "after_run", "after_arm"))
        async with self._database.transaction(caller.tenant_id) as connection:
            await _record(connection, caller, lead_id, first, last)
        while True:
            async with self._database.transaction(caller.tenant_id) as connection:
                rows = await _page(connection, values)
            for row in rows:
                yield LeadScored.model_validate(row)
            if len(rows) < _PAGE:
                return
            end = rows[-1]
            values |= {"time": end["calculated_at"], "after_lead": end["lead_id"]}
            values |= {"after_run": end["run_id"], "after_arm": end["arm"]}


_ROWS = """
-- Read a page of scores behind one of them, in the order of time.
SELECT lead_id, score, confidence, reasoning, components, features, model_version, arm,
    experiment_id, visible, run_id, requested_by, inputs_digest, cost_micros, calculated_at,
    expires_at
FROM scores
WHERE tenant_id = %(tenant)s AND (%(lead)s::text IS NULL OR lead_id = %(lead)s)
  AND (%(first)s::timestamptz IS NULL OR calculated_at >= %(first)s)
  AND (%(last)s::timestamptz IS NULL OR calculated_at < %(last)s)
  AND (%(time)s::timestamptz IS NULL OR (calculated_at, lead_id, run_id, arm)
    > (%(time)s::timestamptz, %(after_lead)s, %(after_run)s, %(after_arm)s))
ORDER BY calculated_at, lead_id, run_id, arm LIMIT %(page)s
"""


async def _page(connection: Connection, values: dict[str, Any]) -> list[dict[str, Any]]:
    return await many(connection, _ROWS, values)


async def _record(
    connection: Connection,
    caller: Principal,
    lead_id: str | None,
    first: datetime | None,
    last: datetime | None,
) -> None:
    span = {"first": first and first.isoformat(), "last": last and last.isoformat()}
    subject, action = lead_id or "all", "scores.exported"
    await audit.record(connection, caller.tenant_id, caller.user_id, action, subject, **span)
