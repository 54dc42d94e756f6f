"""Experiments: which model scores which lead, the same one each time."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from domain.base import Contract, StrictModel
from domain.leads.leads import LeadFilter
from domain.names import ID_PATTERN

ArmName = Annotated[str, Field(pattern=ID_PATTERN)]
ModelId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}\.[0-9]{1,9}$")]


class Arm(StrictModel):
    """One side of an experiment: a model, and its share of the leads. A `shadow` scores every
    lead beside the others, and nobody sees it; its weight counts for nothing."""

    name: ArmName
    model: ModelId
    weight: float = Field(default=1, ge=0, le=1_000)
    shadow: bool = False


class ExperimentStatus(StrEnum):
    """The two states of an experiment; only one of a tenant runs at a time."""

    RUNNING = "running"
    STOPPED = "stopped"


class NewExperiment(StrictModel):
    """An experiment to begin. Arms and split stay as they are: else nothing could be compared."""

    id: ArmName
    arms: tuple[Arm, ...] = Field(min_length=1, max_length=10)
    filter: LeadFilter | None = None

    @model_validator(mode="after")
    def _comparable(self) -> "NewExperiment":
        if len({arm.name for arm in self.arms}) != len(self.arms):
            raise ValueError("each arm needs a name of its own")
        if not sum(arm.weight for arm in self.arms if not arm.shadow):
            raise ValueError("an arm that is not a shadow needs a weight above 0")
        if len(self.arms) < 2:
            raise ValueError("an experiment compares at least two arms")
        return self


class Experiment(NewExperiment):
    """An experiment as the API shows it."""

    status: ExperimentStatus
    created_by: str
    created_at: datetime
    stopped_at: datetime | None


class ScoringPlan(Contract):
    """The models that score, with versions that do not change while a batch runs.

    `default` scores a lead that no arm takes; with `tests` all of them score every lead, and no
    score is visible.
    """

    default: str
    experiment_id: str | None = None
    arms: tuple[Arm, ...] = ()
    filter: LeadFilter | None = None
    tests: tuple[str, ...] = ()

    @property
    def models(self) -> list[str]:
        """Return every model that may score, each once."""
        if self.tests:
            return list(dict.fromkeys(self.tests))
        return list(dict.fromkeys([self.default, *(arm.model for arm in self.arms)]))

    @property
    def shares(self) -> dict[str, float]:
        """Return how many scores each model makes for a lead, on average; a lead that the filter
        leaves out counts as one that it finds."""
        if self.tests or not self.arms:
            return dict.fromkeys(self.models, 1.0)
        whole = sum(arm.weight for arm in self.arms if not arm.shadow)
        shares = dict.fromkeys(self.models, 0.0)
        for arm in self.arms:
            shares[arm.model] += 1 if arm.shadow else arm.weight / whole
        return shares


@dataclass(frozen=True, slots=True)
class Assignment:
    """One model that scores a lead, and for which arm; `visible`: its score is the lead's."""

    model: str
    arm: str
    visible: bool


def assignments(
    plan: ScoringPlan, tenant_id: str, lead_id: str, *, in_filter: bool
) -> list[Assignment]:
    """Assign a lead to models; the score of exactly one is visible, unless they are only
    tested."""
    if plan.tests:
        return [Assignment(model, model, visible=False) for model in plan.tests]
    if plan.experiment_id is None or not in_filter:
        return [Assignment(plan.default, "", visible=True)]
    chosen = arm_of(tenant_id, plan.experiment_id, lead_id, plan.arms)
    shadows = [Assignment(arm.model, arm.name, visible=False) for arm in plan.arms if arm.shadow]
    return [Assignment(chosen.model, chosen.name, visible=True), *shadows]


def arm_of(tenant_id: str, experiment_id: str, lead_id: str, arms: Sequence[Arm]) -> Arm:
    """Return a lead's arm: its position in [0, 1) is a hash, and so the same each time."""
    source = f"{tenant_id}\0{experiment_id}\0{lead_id}".encode()
    position = int.from_bytes(hashlib.sha256(source).digest()[:8], "big") / 2**64
    open_arms = [arm for arm in arms if not arm.shadow and arm.weight]
    whole = sum(arm.weight for arm in open_arms)
    reached = 0.0
    for arm in open_arms:
        reached += arm.weight / whole
        if position < reached:
            return arm
    return open_arms[-1]
