"""Budgets: how much may be spent on models, and how much was."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from api.deps import Parts, requires
from domain.errors import Invalid
from domain.gateway.budgets import Budget, NewBudget
from domain.identity.principals import Principal, Scope
from domain.names import ID_PATTERN

router = APIRouter(prefix="/api/v1/budgets", tags=["budgets"])
Reader = Annotated[Principal, Depends(requires(Scope.BUDGETS_READ))]
Admin = Annotated[Principal, Depends(requires(Scope.BUDGETS_ADMIN))]
BudgetId = Annotated[str, Path(pattern=ID_PATTERN)]


@router.get("")
async def find(caller: Reader, parts: Parts) -> list[Budget]:
    """All budgets, with what was spent of them in the current period."""
    return await parts.budgets.find(caller)


@router.get("/{budget_id}")
async def read(budget_id: BudgetId, caller: Reader, parts: Parts) -> Budget:
    """One budget."""
    return await parts.budgets.read(caller, budget_id)


@router.put("/{budget_id}")
async def put(budget_id: BudgetId, body: NewBudget, caller: Admin, parts: Parts) -> Budget:
    """Make a budget, or replace it."""
    if body.downgrade_to is not None and body.downgrade_to not in parts.settings.routes:
        raise Invalid(f"There is no route {body.downgrade_to!r}.", code="route_unknown")
    return await parts.budgets.put(caller, budget_id, body)


@router.delete("/{budget_id}", status_code=204)
async def delete(budget_id: BudgetId, caller: Admin, parts: Parts) -> None:
    """Remove a budget."""
    await parts.budgets.delete(caller, budget_id)
