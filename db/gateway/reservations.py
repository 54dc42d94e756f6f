"""Reservations: what a call may cost is taken from its budgets before it is made."""

from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any

from db.gateway.alerts import raise_alert
from db.session import Connection, many
from domain.errors import ModelFailed
from domain.gateway.alerts import AlertKind
from domain.gateway.calls import BudgetWarning, CallOpening
from domain.gateway.routes import Candidate

_PATIENCE = timedelta(seconds=2)
_MATCHING = """
SELECT b.id, b.soft_micros, b.hard_micros, b.downgrade_to, w.subject,
    date_trunc(b.period, now() AT TIME ZONE 'UTC')::date AS starts_on
FROM budgets b CROSS JOIN LATERAL (SELECT CASE b.scope WHEN 'tenant' THEN ''
    WHEN 'user' THEN %(user)s WHEN 'feature' THEN %(feature)s ELSE %(run)s END AS subject) AS w
WHERE b.tenant_id = %(tenant)s AND w.subject IS NOT NULL
  AND (b.scope = 'tenant' OR b.subject IN ('*', w.subject))
ORDER BY b.id
"""
# A period's first call counts what the ledger knows of it: the budget may be younger.
_TAKE = """
INSERT INTO budget_spending AS s (tenant_id, budget_id, subject, starts_on, spent_micros,
    reserved_micros)
SELECT b.tenant_id, b.id, %(subject)s, %(starts_on)s, (
    SELECT coalesce(sum(c.cost_micros), 0) FROM model_calls c
    WHERE c.tenant_id = b.tenant_id AND c.created_at >= %(starts_on)s::timestamp AT TIME ZONE 'UTC'
      AND (b.scope <> 'user' OR c.user_id = %(subject)s)
      AND (b.scope <> 'feature' OR c.feature = %(subject)s)
      AND (b.scope <> 'run' OR c.run_id = %(subject)s)
      AND NOT EXISTS (SELECT FROM budget_spending o WHERE o.tenant_id = b.tenant_id
          AND o.budget_id = b.id AND o.subject = %(subject)s AND o.starts_on = %(starts_on)s)
    ), %(micros)s
FROM budgets b WHERE b.tenant_id = %(tenant)s AND b.id = %(id)s
ON CONFLICT (tenant_id, budget_id, subject, starts_on)
    DO UPDATE SET reserved_micros = s.reserved_micros + %(micros)s
RETURNING spent_micros, reserved_micros - %(micros)s AS reserved_before, warned_at
"""
_WARNED = """
UPDATE budget_spending SET warned_at = now() WHERE tenant_id = %(tenant)s AND budget_id = %(id)s
  AND subject = %(subject)s AND starts_on = %(starts_on)s
"""
_GIVE_BACK = """
UPDATE budget_spending SET reserved_micros = reserved_micros - %(micros)s
WHERE tenant_id = %(tenant)s AND budget_id = %(id)s AND subject = %(subject)s
  AND starts_on = %(starts_on)s
"""


@dataclass(frozen=True)
class Reservation:
    """What was reserved, in micro-dollars, and in which budgets: (id, subject, first day)."""

    micros: int
    budgets: list[list[str]]
    warnings: tuple[BudgetWarning, ...] = ()
    downgrade_to: str | None = None


async def reserve(
    connection: Connection, opening: CallOpening, candidate: Candidate
) -> Reservation:
    """Reserve a call's highest cost in every budget that it falls under.

    A call is made while anything is left, so that a cap is passed by one call at most. Raises
    ModelFailed (`budget_exceeded`; `budget_reserved`: the rest is reserved by open calls).
    """
    origin = opening.origin
    micros = _most(opening, candidate)
    who = {"tenant": origin.tenant_id, "user": origin.user_id, "feature": origin.feature}
    budgets = await many(connection, _MATCHING, who | {"run": origin.run_id})
    taken, warnings = [], []
    for budget in budgets:
        values = budget | {"tenant": origin.tenant_id, "micros": micros}
        (row,) = await many(connection, _TAKE, values)
        _check(budget, row)
        taken.append(values)
        if (warning := _warning(budget, row)) is not None:
            warnings.append(warning)
            await _warn(connection, values, warning)
    downgrade = next((w.downgrade_to for w in warnings if w.downgrade_to), None)
    if downgrade is not None and opening.may_downgrade:
        for values in taken:
            await connection.execute(_GIVE_BACK, values)
        return Reservation(0, [], tuple(warnings), downgrade)
    places = [[b["id"], b["subject"], b["starts_on"].isoformat()] for b in budgets]
    return Reservation(micros, places, tuple(warnings))


def _most(opening: CallOpening, candidate: Candidate) -> int:
    """Micro-dollars: a dollar per million tokens is a micro-dollar per token."""
    price = candidate.price
    return ceil(opening.input_tokens * price.input + opening.output_tokens * price.output)


def _check(budget: dict[str, Any], row: dict[str, Any]) -> None:
    hard, spent, before = budget["hard_micros"], row["spent_micros"], row["reserved_before"]
    if hard is None or spent + before < hard:
        return
    if spent < hard:
        raise ModelFailed(
            "Calls that are still open may spend the rest of the budget.",
            code="budget_reserved",
            retry_after=_PATIENCE,
        )
    raise ModelFailed(
        f"The budget {budget['id']} of ${hard / 1e6:.2f} is spent.",
        code="budget_exceeded",
        retryable=False,
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


async def _warn(connection: Connection, values: dict[str, Any], warning: BudgetWarning) -> None:
    if not warning.first:
        return
    await connection.execute(_WARNED, values)
    data = {"spent_micros": warning.spent_micros, "soft_micros": warning.soft_micros}
    await raise_alert(
        connection, values["tenant"], AlertKind.BUDGET_WARNED, warning.budget_id, data
    )
