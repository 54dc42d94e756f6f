"""Budgets: set and shown; `db/gateway/reservations.py` holds calls to them."""

from typing import Any

from db.identity import audit
from db.session import Connection, Database, many, one
from domain.errors import NotFound
from domain.gateway.budgets import Budget, NewBudget, Spending
from domain.identity.principals import Principal

_LIST = """
SELECT b.id, b.scope, b.subject, b.period, b.soft_micros, b.hard_micros, b.downgrade_to,
    b.created_by, b.created_at, b.updated_at, (
        SELECT jsonb_agg(jsonb_build_object('subject', s.subject, 'starts_on', s.starts_on,
            'spent_micros', s.spent_micros, 'reserved_micros', s.reserved_micros)
            ORDER BY s.spent_micros DESC)
        FROM (SELECT * FROM budget_spending p WHERE p.tenant_id = b.tenant_id
                AND p.budget_id = b.id
                AND p.starts_on = date_trunc(b.period, now() AT TIME ZONE 'UTC')::date
              ORDER BY p.spent_micros DESC LIMIT 100) AS s) AS spending
FROM budgets b WHERE b.tenant_id = %(tenant)s AND (%(id)s::text IS NULL OR b.id = %(id)s)
ORDER BY b.id
"""
_PUT = """
INSERT INTO budgets (tenant_id, id, scope, subject, period, soft_micros, hard_micros, downgrade_to,
    created_by)
VALUES (%(tenant)s, %(id)s, %(scope)s, %(subject)s, %(period)s, %(soft_micros)s, %(hard_micros)s,
    %(downgrade_to)s, %(user)s)
ON CONFLICT (tenant_id, id) DO UPDATE SET scope = excluded.scope, subject = excluded.subject,
    period = excluded.period, soft_micros = excluded.soft_micros,
    hard_micros = excluded.hard_micros, downgrade_to = excluded.downgrade_to, updated_at = now()
"""
_DELETE = "DELETE FROM budgets WHERE tenant_id = %(tenant)s AND id = %(id)s"


class Budgets:
    """The budgets of a caller's tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, caller: Principal) -> list[Budget]:
        """All budgets, with what was spent of them in the current period."""
        values = {"tenant": caller.tenant_id, "id": None}
        async with self._database.transaction(caller.tenant_id) as connection:
            return [_budget(row) for row in await many(connection, _LIST, values)]

    async def read(self, caller: Principal, budget_id: str) -> Budget:
        """One budget; raises NotFound (`budget_unknown`)."""
        async with self._database.transaction(caller.tenant_id) as connection:
            return await _read(connection, caller, budget_id)

    async def put(self, caller: Principal, budget_id: str, budget: NewBudget) -> Budget:
        """Make a budget, or replace it. What was spent stays counted."""
        values = budget.model_dump() | {
            "tenant": caller.tenant_id,
            "user": caller.user_id,
            "id": budget_id,
        }
        async with self._database.transaction(caller.tenant_id) as connection:
            await connection.execute(_PUT, values)
            await audit.record(
                connection, caller.tenant_id, caller.user_id, "budget.set", budget_id
            )
            return await _read(connection, caller, budget_id)

    async def delete(self, caller: Principal, budget_id: str) -> None:
        """Remove a budget; raises NotFound (`budget_unknown`)."""
        values = {"tenant": caller.tenant_id, "id": budget_id}
        async with self._database.transaction(caller.tenant_id) as connection:
            if not (await connection.execute(_DELETE, values)).rowcount:
                raise _unknown()
            await audit.record(
                connection, caller.tenant_id, caller.user_id, "budget.deleted", budget_id
            )


async def _read(connection: Connection, caller: Principal, budget_id: str) -> Budget:
    row = await one(connection, _LIST, {"tenant": caller.tenant_id, "id": budget_id})
    if row is None:
        raise _unknown()
    return _budget(row)


def _budget(row: dict[str, Any]) -> Budget:
    spending = tuple(Spending.model_validate(item) for item in row["spending"] or ())
    return Budget.model_validate(row | {"spending": spending})


def _unknown() -> NotFound:
    return NotFound("There is no such budget.", code="budget_unknown")
