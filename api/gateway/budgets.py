"""Budgets: how much may be spent on models, and how much was."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from api.deps import InstallationSettings, requires
from api.gateway.dependencies import Budgets
from api.problems import errors
from domain.gateway.budgets import Budget, NewBudget
from domain.gateway.errors import BudgetUnknown, RouteUnknown
from domain.identity.principals import Principal, Scope
from domain.names import ID_PATTERN

router = APIRouter(prefix="/api/v1/budgets", tags=["budgets"])
Reader = Annotated[Principal, Depends(requires(Scope.BUDGETS_READ))]
Admin = Annotated[Principal, Depends(requires(Scope.BUDGETS_ADMIN))]
BudgetId = Annotated[str, Path(pattern=ID_PATTERN)]


@router.get("")
async def find(caller: Reader, budgets: Budgets) -> list[Budget]:
    """List all budgets, with what was spent of them in the current period."""
    return await budgets.find(caller)


@router.get("/{budget_id}", responses=errors(BudgetUnknown))
async def read(budget_id: BudgetId, caller: Reader, budgets: Budgets) -> Budget:
    """Return one budget."""
    return await budgets.read(caller, budget_id)


@router.put("/{budget_id}", responses=errors(RouteUnknown))
async def put(
    budget_id: BudgetId,
    body: NewBudget,
    caller: Admin,
    settings: InstallationSettings,
    budgets: Budgets,
) -> Budget:
    """Make a budget, or replace it."""
    if body.downgrade_to is not None and body.downgrade_to not in settings.routes:
        raise RouteUnknown(f"There is no route {body.downgrade_to!r}.")
    return await budgets.put(caller, budget_id, body)


@router.delete("/{budget_id}", status_code=204, responses=errors(BudgetUnknown))
async def delete(budget_id: BudgetId, caller: Admin, budgets: Budgets) -> None:
    """Remove a budget."""
    await budgets.delete(caller, budget_id)
