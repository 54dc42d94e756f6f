"""Trainings: models learned from the outcomes of leads."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from domain.base import Contract
from domain.leads import LeadFilter, Time
from domain.runs import Outcome, RunRef
from domain.scoring_models import ModelName


class TrainingOrder(Contract):
    """What to learn: from leads whose outcome came in a window, by which algorithm, and from what.

    `only` and `exclude` name inputs: fields of the profile, or `events.<type>`. Names, addresses
    and the like are never learned from.
    """

    name: ModelName
    algorithm: Literal["logistic", "boosted"] = "logistic"
    window_from: Time | None = None
    window_to: Time | None = None
    filter: LeadFilter | None = None
    only: tuple[str, ...] = Field(default=(), max_length=200)
    exclude: tuple[str, ...] = Field(default=(), max_length=200)


class TrainingInput(Contract):
    """What ModelTraining starts with."""

    run: RunRef
    user_id: str
    order: TrainingOrder


class TrainingResult(Contract):
    """How a training ended."""

    outcome: Outcome
    model_id: str | None = None
    auc: float | None = None


class TrainingWindow(Contract):
    """The outcomes that a model was learned from."""

    first: datetime | None
    last: datetime | None
