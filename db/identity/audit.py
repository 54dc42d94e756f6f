"""The audit trail: who did what to which subject, append-only."""

from typing import Any

from psycopg.types.json import Jsonb

from db.session import Connection

_RECORD = """
-- Append one entry: it commits or is lost with the change that it is about. Locks nothing.
INSERT INTO audit_entries (tenant_id, actor, action, subject, data)
VALUES (%(tenant)s, %(actor)s, %(action)s, %(subject)s, %(data)s)
"""


async def record(
    connection: Connection, tenant_id: str, actor: str, action: str, subject: str, **data: Any
) -> None:
    """Record who did what to which subject, in the transaction that does it."""
    values = {"tenant": tenant_id, "actor": actor, "action": action, "subject": subject}
    await connection.execute(_RECORD, values | {"data": Jsonb(data)})
