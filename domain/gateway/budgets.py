"""Budgets: how much money a tenant, a user, a feature or a run may spend on models."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

from domain.base import Contract
from domain.names import ID_PATTERN

Micros = Annotated[int, Field(ge=0)]


class NewBudget(Contract):
    """Limits in micro-dollars for each `period` (UTC). `subject` names one user, feature or run;
    `*` gives each of them a budget of its own. At `soft_micros` an alert is raised and calls go to
    the route `downgrade_to`, if it is set; at `hard_micros` calls are refused."""

    scope: Literal["tenant", "user", "feature", "run"]
    subject: Annotated[str, Field(min_length=1, max_length=200)] = "*"
    period: Literal["day", "month"] = "month"
    soft_micros: Micros | None = None
    hard_micros: Micros | None = None
    downgrade_to: str | None = None

    @model_validator(mode="after")
    def _has_a_limit(self) -> "NewBudget":
        if self.soft_micros is None and self.hard_micros is None:
            raise ValueError("a budget needs soft_micros or hard_micros")
        return self


class Spending(Contract):
    """The money spent of a budget in one period, and what calls that are still open may cost."""

    subject: str
    starts_on: str
    spent_micros: int
    reserved_micros: int


class Budget(NewBudget):
    """A budget as the API shows it, with the spending of the current period."""

    id: Annotated[str, Field(pattern=ID_PATTERN)]
    created_by: str
    created_at: datetime
    updated_at: datetime
    spending: tuple[Spending, ...] = ()
