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


class TrainingRequest(StrictModel):
    """The training of a model: the leads whose outcome came in a window, the algorithm, and the
    inputs to learn from.

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

    def allows(self, item: Input) -> bool:
        """Return whether `only` and `exclude` let a model learn from an input."""
        names = {item.name, f"events.{item.key}" if item.source != "field" else item.name}
        return not names & set(self.exclude) and (not self.only or bool(names & set(self.only)))


class TrainingInput(Contract):
    """The input of ModelTraining."""

    run: RunRef
    user_id: str
    request: TrainingRequest


class TrainingResult(Contract):
    """The outcome of a training, and the model that it has added."""

    outcome: Outcome
    model_id: str | None = None
    auc: float | None = None


def training_spec(tenant_id: str, user_id: str, request: TrainingRequest, key: str) -> RunSpec:
    """Describe the run that learns a model; the same key is the same run."""
    run = RunRef(tenant_id=tenant_id, run_id=run_id(Kind.TRAINING, request.name, key))
    input = TrainingInput(run=run, user_id=user_id, request=request)
    return RunSpec(
        run=run,
        kind=Kind.TRAINING,
        subject_id=request.name,
        user_id=user_id,
        model=request.algorithm,
        summary=f"Learn {request.name} ({request.algorithm}) for {user_id:.60}",
        input=input.model_dump(mode="json"),
    )
