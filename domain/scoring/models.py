"""Scoring models: a registry of versions, from candidate to champion."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from domain.base import Contract, StrictModel
from domain.errors import Invalid
from domain.fields import storable
from domain.names import ID_PATTERN
from domain.scoring.learned import Learned, LearnedScorer
from domain.scoring.rules import RuleScorer, RuleSet, parse

ModelName = Annotated[str, Field(pattern=ID_PATTERN)]
BUILT_IN = "starter.0"


class ModelKind(StrEnum):
    """How a model comes to its scores."""

    RULES = "rules"
    LEARNED = "learned"
    LLM = "llm"


class ModelStatus(StrEnum):
    """The life of a version. One of a tenant is its champion; a retired one scores no more."""

    CANDIDATE = "candidate"
    APPROVED = "approved"
    CHAMPION = "champion"
    RETIRED = "retired"


class Judge(StrictModel):
    """What an `llm` model is: the route that is asked, and what the tenant tells it to look for."""

    route: str = Field(default="extract", pattern=ID_PATTERN)
    instructions: Annotated[str, Field(max_length=8_000), AfterValidator(storable)] = ""


class Metrics(Contract):
    """How good a learned model is, on leads that it was not trained on (five-fold, shuffled).

    `auc`: area under the ROC curve; `brier`: mean squared error of the probability;
    `calibration_error`: mean distance between predicted and seen win rates of ten equal groups,
    weighted by their size; `suspicious`: inputs that alone tell the outcome too well (an AUC above
    0.95), as what was written down after it does.
    """

    auc: float
    brier: float
    calibration_error: float
    leads: int
    won: int
    suspicious: list[str] = []


class Histogram(Contract):
    """How a feature was distributed: shares of its bins. Numbers have the upper `edges` of all
    bins but the last; texts have `levels`, with one more bin for all others. The last share is that
    of leads for which it is not known. `leads`: how many were counted, where that was kept."""

    edges: tuple[float, ...] = ()
    levels: tuple[str, ...] = ()
    shares: tuple[float, ...]
    leads: int | None = None


class Baseline(Contract):
    """What leads looked like, to see later what has moved: those of the training window, or of a
    model's first scores if it was not trained."""

    features: dict[str, Histogram]
    score: Histogram


class ScoringModel(Contract):
    """A version of a model, as the registry keeps it. `id` is `{name}.{version}`."""

    id: str
    name: str
    version: int
    kind: ModelKind
    status: ModelStatus
    description: str
    definition: dict[str, Any]
    window_from: datetime | None = None
    window_to: datetime | None = None
    metrics: Metrics | None = None
    baseline: Baseline | None = None
    created_by: str
    created_at: datetime | None
    approved_by: str | None = None
    approved_at: datetime | None = None
    promoted_by: str | None = None
    promoted_at: datetime | None = None
    retired_at: datetime | None = None


class NewModel(Contract):
    """A version on its way into the registry."""

    name: ModelName
    kind: ModelKind
    description: str = ""
    definition: dict[str, Any]
    window_from: datetime | None = None
    window_to: datetime | None = None
    metrics: Metrics | None = None
    baseline: Baseline | None = None
    run_id: str | None = None


class ScoringSettings(Contract):
    """What a tenant decides about scoring: whether a second person must approve a model, how long
    a score counts, and whether changes of a lead rescore it."""

    four_eyes: bool = True
    valid_hours: float = Field(default=24 * 7, gt=0, le=24 * 366)
    rescore: bool = True


class SettingsChange(StrictModel):
    """What a tenant decides anew; what is left out stays as it is."""

    four_eyes: bool | None = None
    valid_hours: float | None = Field(default=None, gt=0, le=24 * 366)
    rescore: bool | None = None


def rules_of(text: str) -> dict[str, Any]:
    """The definition of a `rules` model; raises Invalid (`rules_invalid`)."""
    return {"text": text, "rules": parse(text).model_dump(mode="json", exclude_defaults=True)}


def scorer_of(kind: ModelKind, definition: dict[str, Any]) -> RuleScorer | LearnedScorer | Judge:
    """What a definition stands for; raises Invalid (`model_unreadable`)."""
    try:
        if kind is ModelKind.RULES:
            return RuleScorer(RuleSet.model_validate(definition.get("rules")))
        if kind is ModelKind.LEARNED:
            return LearnedScorer(Learned.model_validate(definition))
        return Judge.model_validate(definition)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise Invalid(f"The model cannot be read at {where}.", code="model_unreadable") from None
