"""Scoring models: a registry of versions, from candidate to champion."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from domain.base import Contract, StrictModel
from domain.fields import storable
from domain.names import ID_PATTERN
from domain.scoring.errors import ModelUnreadable
from domain.scoring.learned import LearnedModel, LearnedScorer
from domain.scoring.rules import RuleScorer, RuleSet, parse

ModelName = Annotated[str, Field(pattern=ID_PATTERN)]
BUILT_IN = "starter.0"


class ModelKind(StrEnum):
    """The ways in which a model comes to its scores."""

    RULES = "rules"
    LEARNED = "learned"
    LLM = "llm"


class ModelStatus(StrEnum):
    """The states of a version. One of a tenant is its champion; a retired one scores no more."""

    CANDIDATE = "candidate"
    APPROVED = "approved"
    CHAMPION = "champion"
    RETIRED = "retired"


class LlmSettings(StrictModel):
    """The definition of an `llm` model: the route that is called, and the tenant's
    instructions."""

    route: str = Field(default="extract", pattern=ID_PATTERN)
    instructions: Annotated[str, Field(max_length=8_000), AfterValidator(storable)] = ""


class Metrics(Contract):
    """The quality of a learned model, on leads that it was not trained on (five-fold, shuffled).

    `auc`: area under the ROC curve; `brier`: mean squared error of the probability;
    `calibration_error`: mean distance between predicted and real win rates of ten equal groups,
    weighted by their size; `suspicious`: inputs that alone predict the outcome too well (an AUC
    above 0.95), as values that were written after it do.
    """

    auc: float
    brier: float
    calibration_error: float
    leads: int
    won: int
    suspicious: list[str] = []


class Histogram(Contract):
    """The distribution of a feature: shares of its bins. Numbers have the upper `edges` of all
    bins but the last; texts have `levels`, with one more bin for all others. The last share is that
    of leads for which it is not known. `leads`: how many were counted, where that is known."""

    edges: tuple[float, ...] = ()
    levels: tuple[str, ...] = ()
    shares: tuple[float, ...]
    leads: int | None = None


class Baseline(Contract):
    """The distributions that later leads are compared with: those of the training window, or of
    a model's first scores if it was not trained."""

    features: dict[str, Histogram]
    score: Histogram


class ScoringModel(Contract):
    """A version of a model, as the registry stores it. `id` is `{name}.{version}`."""

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
    """A tenant's settings of scoring: whether a second person must approve a model, how long a
    score is valid, and whether changes of a lead rescore it."""

    four_eyes: bool = True
    valid_hours: float = Field(default=24 * 7, gt=0, le=24 * 366)
    rescore: bool = True


class SettingsChange(StrictModel):
    """A change of a tenant's settings; what is left out stays as it is."""

    four_eyes: bool | None = None
    valid_hours: float | None = Field(default=None, gt=0, le=24 * 366)
    rescore: bool | None = None


def rules_of(text: str) -> dict[str, Any]:
    """Return the definition of a `rules` model. Raises RulesInvalid."""
    return {"text": text, "rules": parse(text).model_dump(mode="json", exclude_defaults=True)}


def scorer_of(
    kind: ModelKind, definition: dict[str, Any]
) -> RuleScorer | LearnedScorer | LlmSettings:
    """Return the scorer that a definition describes, or the settings of one that calls a model.
    Raises ModelUnreadable."""
    try:
        if kind is ModelKind.RULES:
            return RuleScorer(RuleSet.model_validate(definition.get("rules")))
        if kind is ModelKind.LEARNED:
            return LearnedScorer(LearnedModel.model_validate(definition))
        return LlmSettings.model_validate(definition)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise ModelUnreadable(f"The model cannot be read at {where}.") from None
