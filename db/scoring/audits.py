"""Score audits: every score with what it was made from, by lead and by period."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from db.identity import audit
from db.session import Database, many
from domain.identity.principals import Principal
from domain.scoring.scores import LeadScored

_PAGE = 500
_ROWS = """
SELECT lead_id, score, confidence, reasoning, components, features, model_version, arm,
    experiment_id, shown, run_id, requested_by, inputs_digest, cost_micros, calculated_at,
    expires_at
FROM scores
WHERE tenant_id = %(tenant)s AND (%(lead)s::text IS NULL OR lead_id = %(lead)s)
  AND (%(first)s::timestamptz IS NULL OR calculated_at >= %(first)s)
  AND (%(last)s::timestamptz IS NULL OR calculated_at < %(last)s)
  AND (%(time)s::timestamptz IS NULL OR (calculated_at, lead_id, run_id, arm)
    > (%(time)s::timestamptz, %(behind)s, %(run)s, %(arm)s))
ORDER BY calculated_at, lead_id, run_id, arm LIMIT %(page)s
"""


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
        """Scores in the order of time, page by page; that they were exported is audited too."""
        values: dict[str, Any] = {"tenant": caller.tenant_id, "lead": lead_id, "page": _PAGE}
        values |= {"first": first, "last": last}
        values |= dict.fromkeys(("time", "behind", "run", "arm"))
        async with self._database.transaction(caller.tenant_id) as connection:
            span = {"first": first and first.isoformat(), "last": last and last.isoformat()}
            await audit.record(
                connection,
                caller.tenant_id,
                caller.user_id,
                "scores.exported",
                lead_id or "all",
                **span,
            )
        while True:
            async with self._database.transaction(caller.tenant_id) as connection:
                rows = await many(connection, _ROWS, values)
            for row in rows:
                yield LeadScored.model_validate(row)
            if len(rows) < _PAGE:
                return
            end = rows[-1]
            values |= {"time": end["calculated_at"], "behind": end["lead_id"]}
            values |= {"run": end["run_id"], "arm": end["arm"]}
