"""Alerts: raised in the transaction of what they tell of, counted within five minutes."""

from typing import Any

from psycopg.types.json import Jsonb

from db import cursors
from db.session import Connection, Database, many
from domain.base import Page
from domain.gateway.alerts import Alert, AlertKind
from domain.identity.principals import Principal

_RAISE = """
INSERT INTO alerts AS a (tenant_id, kind, subject, bucket, data)
VALUES (%(tenant)s, %(kind)s, %(subject)s,
    date_bin('5 minutes', now(), '2000-01-01T00:00:00Z'), %(data)s)
ON CONFLICT (tenant_id, kind, subject, bucket)
    DO UPDATE SET count = a.count + 1, last_at = now(), data = excluded.data
"""
_LIST = """
SELECT id, kind, subject, data, count, created_at, last_at FROM alerts
WHERE tenant_id = %(tenant)s AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(after)s::bigint IS NULL OR id < %(after)s)
ORDER BY id DESC LIMIT %(limit)s
"""


class Alerts:
    """The alerts of a caller's tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, caller: Principal, *, kind: str | None, cursor: str | None, limit: int
    ) -> Page[Alert]:
        """Alerts, the latest first."""
        after = cursors.decode_numbers(cursor, 1)[0] if cursor else None
        values = {"tenant": caller.tenant_id, "kind": kind, "after": after, "limit": limit + 1}
        async with self._database.transaction(caller.tenant_id) as connection:
            rows = await many(connection, _LIST, values)
        alerts = [Alert.model_validate(row) for row in rows[:limit]]
        more = len(rows) > limit
        return Page(items=alerts, next_cursor=cursors.encode(alerts[-1].id) if more else None)


async def raise_alert(
    connection: Connection, tenant_id: str, kind: AlertKind, subject: str, data: dict[str, Any]
) -> None:
    """Raise an alert, or count it with the same one of the last five minutes."""
    values = {"tenant": tenant_id, "kind": kind.value, "subject": subject, "data": Jsonb(data)}
    await connection.execute(_RAISE, values)
