"""Erasure: scores, failures and runs of a lead that must be forgotten."""

from db.runs import erasure, feeds
from db.session import Connection
from domain.names import Kind

_FORGET = """
-- Delete every score of a lead, its current one, and its failures. A run that is scoring it
-- stores nothing more, for the lead's row is gone.
WITH gone AS (
    DELETE FROM scores WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s
), failures AS (
    DELETE FROM batch_failures WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s
)
DELETE FROM current_scores WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s
"""


async def forget_lead(connection: Connection, tenant_id: str, lead_id: str) -> None:
    """Delete a lead's runs, scores and failures, and empty its events on the feed of scores, in
    the transaction that erases the lead."""
    await erasure.delete_runs(connection, tenant_id, Kind.SCORE, lead_id)
    await connection.execute(_FORGET, {"tenant": tenant_id, "lead": lead_id})
    await erasure.redact_lead(connection, feeds.scores_of(tenant_id), lead_id)
