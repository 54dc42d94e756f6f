"""Alerts: raised in the transaction of their cause, counted within five minutes."""

from typing import Any

from psycopg.types.json import Jsonb

from db import cursors
from db.session import Connection, Database, many
from domain.base import Page
from domain.gateway.alerts import Alert, AlertKind
from domain.identity.principals import Principal


class Alerts:
    """The alerts of a caller's tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, caller: Principal, *, kind: str | None, cursor: str | None, limit: int
    ) -> Page[Alert]:
        """Return a page of alerts, the latest first; raises CursorInvalid."""
        after = cursors.decode_numbers(cursor, 1)[0] if cursor else None
        values = caller.key | {"kind": kind, "after": after, "limit": limit + 1}
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await _list(connection, values)
        return cursors.page(rows, limit, Alert.model_validate, key=lambda row: (row["id"],))


_LIST = """
-- One page of a tenant's alerts and one row more, the latest first; locks nothing.
SELECT id, kind, subject, data, count, created_at, last_at FROM alerts
WHERE tenant_id = %(tenant)s AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(after)s::bigint IS NULL OR id < %(after)s)
ORDER BY id DESC LIMIT %(limit)s
"""


async def _list(connection: Connection, values: dict[str, Any]) -> list[dict[str, Any]]:
    return await many(connection, _LIST, values)


_RAISE = """
-- One row for all alerts of a kind about a subject in five minutes; locks that row.
INSERT INTO alerts AS a (tenant_id, kind, subject, bucket, data)
VALUES (%(tenant)s, %(kind)s, %(subject)s,
    date_bin('5 minutes', now(), '2000-01-01T00:00:00Z'), %(data)s)
ON CONFLICT (tenant_id, kind, subject, bucket)
    DO UPDATE SET count = a.count + 1, last_at = now(), data = excluded.data
"""


async def raise_alert(
    connection: Connection, tenant_id: str, kind: AlertKind, subject: str, data: dict[str, Any]
) -> None:
    """Raise an alert, or count it with the same one of the last five minutes."""
    values = {"tenant": tenant_id, "kind": kind.value, "subject": subject, "data": Jsonb(data)}
    await connection.execute(_RAISE, values)
