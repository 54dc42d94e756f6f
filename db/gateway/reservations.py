"""Reservations: what a call may cost is taken from its budgets before it is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any

from db.gateway.alerts import raise_alert
from db.session import Connection, many
from domain.gateway.alerts import AlertKind
from domain.gateway.calls import BudgetWarning, CallOrigin, Downgrade, NewModelCall
from domain.gateway.errors import BudgetExceeded, BudgetReserved
from domain.gateway.routes import Candidate

_RETRY_AFTER = timedelta(seconds=2)


@dataclass(frozen=True)
class Reservation:
    """Money set aside for a call, in micro-dollars, and its budgets: (id, subject, first day)."""

    micros: int
    budgets: list[list[str]]
    warnings: tuple[BudgetWarning, ...]


async def reserve(
    connection: Connection, call: NewModelCall, candidate: Candidate
) -> Reservation | Downgrade:
    """Reserve a call's maximum cost in every budget that it falls under.

    A call is made while anything is left, so that a cap is passed by one call at most. Raises
    BudgetExceeded; BudgetReserved while open calls may spend the rest.
    """
    micros = _max_cost(call, candidate)
    taken, warnings = [], []
    for budget in await _matching(connection, call.origin):
        values = budget | {"tenant": call.origin.tenant_id, "micros": micros}
        row = await _take(connection, values)
        _check(budget, row)
        taken.append(values)
        if (warning := _warning(budget, row)) is not None:
            warnings.append(warning)
            await _warn(connection, values, warning)
    route = next((w.downgrade_to for w in warnings if w.downgrade_to), None)
    if route is not None and call.may_downgrade:
        await _give_back(connection, taken)
        return Downgrade(route=route, warnings=tuple(warnings))
    budgets = [[b["id"], b["subject"], b["starts_on"].isoformat()] for b in taken]
    return Reservation(micros, budgets, tuple(warnings))


def _max_cost(call: NewModelCall, candidate: Candidate) -> int:
    """Price the upper bounds: a dollar per million tokens is a micro-dollar per token."""
    price = candidate.price
    return ceil(call.input_tokens * price.input + call.output_tokens * price.output)


_MATCHING = """
-- The budgets that a call falls under, in the order in which all calls lock their spending.
SELECT b.id, b.soft_micros, b.hard_micros, b.downgrade_to, w.subject,
    date_trunc(b.period, now() AT TIME ZONE 'UTC')::date AS starts_on
FROM budgets b CROSS JOIN LATERAL (SELECT CASE b.scope WHEN 'tenant' THEN ''
    WHEN 'user' THEN %(user)s WHEN 'feature' THEN %(feature)s ELSE %(run)s END AS subject) AS w
WHERE b.tenant_id = %(tenant)s AND w.subject IS NOT NULL
  AND (b.scope = 'tenant' OR b.subject IN ('*', w.subject))
ORDER BY b.id
"""


async def _matching(connection: Connection, origin: CallOrigin) -> list[dict[str, Any]]:
    values = {
        "tenant": origin.tenant_id,
        "user": origin.user_id,
        "feature": origin.feature,
        "run": origin.run_id,
    }
    return await many(connection, _MATCHING, values)


_TAKE = """
-- Reserves money in one budget's period, and locks its row: calls of a budget reserve one after the
-- other. A period's first call counts what the call ledger knows of it: the budget may be younger.
INSERT INTO budget_spending AS s (tenant_id, budget_id, subject, starts_on, spent_micros,
    reserved_micros)
SELECT b.tenant_id, b.id, %(subject)s, %(starts_on)s::date, (
    SELECT coalesce(sum(c.cost_micros), 0) FROM model_calls c
    WHERE c.tenant_id = b.tenant_id
      AND c.created_at >= %(starts_on)s::date::timestamp AT TIME ZONE 'UTC'
      AND (b.scope <> 'user' OR c.user_id = %(subject)s)
      AND (b.scope <> 'feature' OR c.feature = %(subject)s)
      AND (b.scope <> 'run' OR c.run_id = %(subject)s)
      AND NOT EXISTS (SELECT FROM budget_spending o WHERE o.tenant_id = b.tenant_id
          AND o.budget_id = b.id AND o.subject = %(subject)s
          AND o.starts_on = %(starts_on)s::date)
    ), %(micros)s::bigint
FROM budgets b WHERE b.tenant_id = %(tenant)s AND b.id = %(id)s
ON CONFLICT (tenant_id, budget_id, subject, starts_on)
    DO UPDATE SET reserved_micros = s.reserved_micros + %(micros)s::bigint
RETURNING spent_micros, reserved_micros - %(micros)s::bigint AS reserved_before, warned_at
"""


async def _take(connection: Connection, values: dict[str, Any]) -> dict[str, Any]:
    (row,) = await many(connection, _TAKE, values)
    return row


def _check(budget: dict[str, Any], row: dict[str, Any]) -> None:
    hard, spent, before = budget["hard_micros"], row["spent_micros"], row["reserved_before"]
    if hard is None or spent + before < hard:
        return
    if spent < hard:
        raise BudgetReserved(retry_after=_RETRY_AFTER)
    raise BudgetExceeded(
        f"The budget {budget['id']} of ${hard / 1e6:.2f} is spent.",
        budget_id=budget["id"],
        spent_micros=spent,
        hard_micros=hard,
    )


def _warning(budget: dict[str, Any], row: dict[str, Any]) -> BudgetWarning | None:
    soft, spent = budget["soft_micros"], row["spent_micros"] + row["reserved_before"]
    if soft is None or spent < soft:
        return None
    return BudgetWarning(
        budget_id=budget["id"],
        spent_micros=spent,
        soft_micros=soft,
        downgrade_to=budget["downgrade_to"],
        first=row["warned_at"] is None,
    )


_WARNED = """
-- Notes that a period's soft limit was reported, so that it is once; its row is locked already.
UPDATE budget_spending SET warned_at = now() WHERE tenant_id = %(tenant)s AND budget_id = %(id)s
  AND subject = %(subject)s AND starts_on = %(starts_on)s
"""


async def _warn(connection: Connection, values: dict[str, Any], warning: BudgetWarning) -> None:
    if not warning.first:
        return
    await connection.execute(_WARNED, values)
    data = {"spent_micros": warning.spent_micros, "soft_micros": warning.soft_micros}
    await raise_alert(
        connection, values["tenant"], AlertKind.BUDGET_WARNED, warning.budget_id, data
    )


_GIVE_BACK = """
-- Takes a reservation back; its row is locked already.
UPDATE budget_spending SET reserved_micros = reserved_micros - %(micros)s
WHERE tenant_id = %(tenant)s AND budget_id = %(id)s AND subject = %(subject)s
  AND starts_on = %(starts_on)s
"""


async def _give_back(connection: Connection, taken: Sequence[dict[str, Any]]) -> None:
    for values in taken:
        await connection.execute(_GIVE_BACK, values)
