"""Trainings: models learned from the outcomes of leads."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from domain.base import Contract, StrictModel
from domain.fields import Time, storable
from domain.leads.leads import LeadFilter
from domain.names import Kind, run_id
from domain.runs.runs import Outcome, RunRef, RunSpec
from domain.scoring.inputs import Input
from domain.scoring.models import ModelName


class TrainingOrder(StrictModel):
    """What to learn: from leads whose outcome came in a window, by which algorithm, and from what.

    Behaviour is learned from as it was before the outcome, but profiles as they are today: a field
    that is written after the outcome tells it, and belongs in `exclude`.

    `only` and `exclude` name inputs: fields of the profile, or `events.<type>`. Names, addresses
    and the like are never learned from.
    """

    name: ModelName
    algorithm: Literal["logistic", "boosted"] = "logistic"
    window_from: Time | None = None
    window_to: Time | None = None
    filter: LeadFilter | None = None
    only: Annotated[tuple[str, ...], Field(max_length=200), AfterValidator(storable)] = ()
    exclude: Annotated[tuple[str, ...], Field(max_length=200), AfterValidator(storable)] = ()

    def wants(self, item: Input) -> bool:
        """Whether an input may be learned from, by `only` and `exclude`."""
        names = {item.name, f"events.{item.key}" if item.source != "field" else item.name}
        return not names & set(self.exclude) and (not self.only or bool(names & set(self.only)))


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


def launch_of(tenant_id: str, user_id: str, order: TrainingOrder, mark: str) -> RunSpec:
    """The run that learns a model."""
    run = RunRef(tenant_id=tenant_id, run_id=run_id(Kind.TRAINING, order.name, mark))
    asked = TrainingInput(run=run, user_id=user_id, order=order)
    return RunSpec(
        run=run,
        kind=Kind.TRAINING,
        subject_id=order.name,
        user_id=user_id,
        model=order.algorithm,
        summary=f"Learn {order.name} ({order.algorithm}) for {user_id:.60}",
        input=asked.model_dump(mode="json"),
    )
