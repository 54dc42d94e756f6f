"""Budgets: set and shown; `db/gateway/reservations.py` holds calls to them."""

from typing import Any

from db.identity import audit
from db.session import Connection, Database, many
from domain.gateway.budgets import Budget, NewBudget, Spending
from domain.gateway.errors import BudgetUnknown
from domain.identity.principals import Principal


class Budgets:
    """The budgets of a caller's tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, caller: Principal) -> list[Budget]:
        """Return all budgets, with the spending of the current period."""
        async with self._database.transaction(caller.tenant_id) as connection:
            return await _list(connection, caller)

    async def read(self, caller: Principal, budget_id: str) -> Budget:
        """Return one budget; raises BudgetUnknown."""
        async with self._database.transaction(caller.tenant_id) as connection:
            return await _read(connection, caller, budget_id)

    async def put(self, caller: Principal, budget_id: str, budget: NewBudget) -> Budget:
        """Create a budget, or replace it. What was spent stays counted."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await _put(connection, caller, budget_id, budget)
            await audit.record(
                connection, caller.tenant_id, caller.user_id, "budget.set", budget_id
            )
            return await _read(connection, caller, budget_id)

    async def delete(self, caller: Principal, budget_id: str) -> None:
        """Remove a budget; raises BudgetUnknown."""
        async with self._database.transaction(caller.tenant_id) as connection:
            await _delete(connection, caller, budget_id)
            await audit.record(
                connection, caller.tenant_id, caller.user_id, "budget.deleted", budget_id
            )


_LIST = """
-- Each budget, or the one that is named, with the hundred greatest spendings of its current period;
-- locks nothing.
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


async def _list(
    connection: Connection, caller: Principal, budget_id: str | None = None
) -> list[Budget]:
    rows = await many(connection, _LIST, caller.key | {"id": budget_id})
    return [_budget(row) for row in rows]


async def _read(connection: Connection, caller: Principal, budget_id: str) -> Budget:
    budgets = await _list(connection, caller, budget_id)
    if not budgets:
        raise BudgetUnknown
    return budgets[0]


def _budget(row: dict[str, Any]) -> Budget:
    spending = tuple(Spending.model_validate(item) for item in row["spending"] or ())
    return Budget.model_validate(row | {"spending": spending})


_PUT = """
-- One row for each id, whoever comes first; locks that row.
INSERT INTO budgets (tenant_id, id, scope, subject, period, soft_micros, hard_micros, downgrade_to,
    created_by)
VALUES (%(tenant)s, %(id)s, %(scope)s, %(subject)s, %(period)s, %(soft_micros)s, %(hard_micros)s,
    %(downgrade_to)s, %(user)s)
ON CONFLICT (tenant_id, id) DO UPDATE SET scope = excluded.scope, subject = excluded.subject,
    period = excluded.period, soft_micros = excluded.soft_micros,
    hard_micros = excluded.hard_micros, downgrade_to = excluded.downgrade_to, updated_at = now()
"""


async def _put(
    connection: Connection, caller: Principal, budget_id: str, budget: NewBudget
) -> None:
    await connection.execute(_PUT, budget.model_dump() | caller.key | {"id": budget_id})


_DELETE = """
-- The budget goes with its spending; locks its rows.
DELETE FROM budgets WHERE tenant_id = %(tenant)s AND id = %(id)s
"""


async def _delete(connection: Connection, caller: Principal, budget_id: str) -> None:
    cursor = await connection.execute(_DELETE, caller.key | {"id": budget_id})
    if not cursor.rowcount:
        raise BudgetUnknown
