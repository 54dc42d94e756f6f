"""Settings of scoring: a tenant's decisions on approval, validity and rescoring."""

from db.session import Connection, one
from domain.identity.principals import Principal
from domain.scoring.models import ScoringSettings

_GET = """
-- Read a tenant's settings, of which there may be none.
SELECT four_eyes, valid_hours, rescore FROM scoring_settings WHERE tenant_id = %(tenant)s
"""


async def get(connection: Connection, tenant_id: str) -> ScoringSettings:
    """Return a tenant's settings of scoring, within a transaction."""
    row = await one(connection, _GET, {"tenant": tenant_id})
    return ScoringSettings.model_validate(row) if row else ScoringSettings()


_PUT = """
-- Replace a tenant's settings.
INSERT INTO scoring_settings (tenant_id, four_eyes, valid_hours, rescore, changed_by)
VALUES (%(tenant)s, %(four_eyes)s, %(valid_hours)s, %(rescore)s, %(user)s)
ON CONFLICT (tenant_id) DO UPDATE SET four_eyes = excluded.four_eyes,
    valid_hours = excluded.valid_hours, rescore = excluded.rescore,
    changed_by = excluded.changed_by, changed_at = now()
"""


async def put(connection: Connection, caller: Principal, settings: ScoringSettings) -> None:
    """Replace a tenant's settings of scoring, within a transaction."""
    await connection.execute(_PUT, caller.key | settings.model_dump())
