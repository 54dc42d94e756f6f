"""Erasure: the request for a score of a lead that must be forgotten."""

from collections.abc import Awaitable, Callable

from db.session import Connection

# Each noun whose tables hold something of a lead exports one, as `forget_lead`.
Forgetter = Callable[[Connection, str, str], Awaitable[None]]

_FORGET = """
-- Delete the request for a lead's next score; the lead's row is locked by the caller.
DELETE FROM score_requests WHERE tenant_id = %(tenant)s AND lead_id = %(lead)s
"""


async def forget_lead(connection: Connection, tenant_id: str, lead_id: str) -> None:
    """Delete the request for a lead's next score, in the transaction that erases the lead."""
    await connection.execute(_FORGET, {"tenant": tenant_id, "lead": lead_id})
