"""Erasure: model answers about a lead that must be forgotten."""

from db.session import Connection

_FORGET = """
-- Delete every cached answer about a lead: its text may repeat the profile.
DELETE FROM answer_cache WHERE tenant_id = %(tenant)s AND subject = %(lead)s
"""


async def forget_lead(connection: Connection, tenant_id: str, lead_id: str) -> None:
    """Delete the cached answers about a lead, in the transaction that erases the lead."""
    await connection.execute(_FORGET, {"tenant": tenant_id, "lead": lead_id})
