"""Checks: drift of inputs and scores since training, and fairness between groups of leads."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from domain.base import Contract, StrictModel
from domain.fields import storable
from domain.gateway.alerts import AlertKind, NewAlert
from domain.names import Kind
from domain.runs.runs import Outcome, RunInput, RunRef, RunSpec
from domain.scoring.inputs import level_text
from domain.scoring.models import Baseline, Histogram
from domain.scoring.stability import chance, stability
from domain.scoring.subjects import Value, is_number

_LASTING_LEADS = 1_000
_SCORE_EDGES = tuple(float(edge) for edge in range(10, 100, 10))
_MAX_LEVELS, _MIN_LEADS_OF_LEVEL = 30, 5

# A lead's score, and the features that it was made from.
Observation = tuple[float, Mapping[str, Value]]
Attribute = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(storable)]


class CheckRequest(StrictModel):
    """The visible scores of the last days, to check; `attribute` is a field of the profile.

    A population stability index above `psi_limit` raises an alert (0.1: some, 0.25: much change by
    the usual reading) where chance alone would not explain it, and so does a group whose selection
    rate (scores from `selected_from` on) is below `ratio_limit` of the best group's: the
    four-fifths rule of the US Uniform Guidelines on Employee Selection Procedures (29 CFR 1607.4
    D). Models and groups with fewer than `min_leads` are left out.
    """

    days: float = Field(default=7, gt=0, le=366)
    attribute: Attribute | None = None
    selected_from: float = Field(default=50, ge=0, le=100)
    psi_limit: float = Field(default=0.2, gt=0)
    ratio_limit: float = Field(default=0.8, gt=0, le=1)
    min_leads: int = Field(default=30, ge=1)


class CheckInput(RunInput):
    """The input of ScoreCheck; the run's id is in the workflow's own."""

    tenant_id: str
    user_id: str
    request: CheckRequest = CheckRequest()


class CheckRef(Contract):
    """One check, for its activity."""

    run: RunRef
    user_id: str
    request: CheckRequest


class CheckResult(Contract):
    """The outcome of a check, and how many alerts it raised."""

    outcome: Outcome
    alerts: int = 0


class MonitoredModel(Contract):
    """A model whose scores are checked. `baseline`: what they are compared with, if known."""

    model: str
    trained: bool
    baseline: Baseline | None


class Drift(Contract):
    """The drift of a model's inputs and scores: `score` and `features` hold population stability
    indices, `moved` those of them that deserve an alert.

    `compared_with`: `training`, or the model's `first scores` where it was not trained; None: too
    few leads to tell.
    """

    model_version: str
    leads: int
    compared_with: Literal["training", "first scores"] | None
    score: float | None
    features: dict[str, float]
    moved: dict[str, float] = {}


class Group(Contract):
    """Leads that share a value of the attribute. `ratio`: this group's rate over the best one's."""

    value: str
    leads: int
    mean_score: float
    selected: int
    rate: float
    ratio: float


class Fairness(Contract):
    """The treatment of groups of leads, the largest first."""

    attribute: str
    selected_from: float
    groups: list[Group]
    min_ratio: float | None


class Check(Contract):
    """A check as the API shows it."""

    run_id: str
    request: CheckRequest
    drift: list[Drift]
    fairness: Fairness | None
    alerts: int
    created_at: datetime


def histogram(values: Sequence[Value], like: Histogram | None = None) -> Histogram:
    """Count values in the bins of another histogram, or in bins of their own: tenths of the
    numbers, or the most frequent texts."""
    shape = like or _shape([value for value in values if value is not None])
    counts = [0] * len(shape.shares)
    for value in values:
        counts[_bin(shape, value)] += 1
    shares = tuple(count / (len(values) or 1) for count in counts)
    return shape.model_copy(update={"shares": shares, "leads": len(values)})


def score_histogram(scores: Sequence[float]) -> Histogram:
    """Count scores in ten bins of ten points."""
    empty = Histogram(edges=_SCORE_EDGES, shares=(0.0,) * (len(_SCORE_EDGES) + 2))
    return histogram(scores, empty)


def baseline_of(observations: Sequence[Observation], min_leads: int) -> Baseline | None:
    """Return the distribution of these leads, in bins of their own; None for fewer than
    `min_leads`."""
    if len(observations) < min_leads:
        return None
    features = {name: histogram(column) for name, column in _columns(observations).items()}
    return Baseline(features=features, score=score_histogram(_scores(observations)))


def is_lasting(baseline: Baseline) -> bool:
    """Return whether a baseline has leads enough to stay; a smaller one is calculated anew."""
    return (baseline.score.leads or 0) >= _LASTING_LEADS


def drift_of(
    request: CheckRequest, model: MonitoredModel, observations: Sequence[Observation]
) -> Drift:
    """Calculate the drift between a model's baseline and these leads."""
    leads = len(observations)
    if model.baseline is None or leads < request.min_leads:
        return Drift(
            model_version=model.model, leads=leads, compared_with=None, score=None, features={}
        )
    columns, shapes = _columns(observations), model.baseline.features
    pairs = [(name, shape, columns[name]) for name, shape in shapes.items() if name in columns]
    features = [(name, shape, histogram(column, shape)) for name, shape, column in pairs]
    score = ("score", model.baseline.score, score_histogram(_scores(observations)))
    return Drift(
        model_version=model.model,
        leads=leads,
        compared_with="training" if model.trained else "first scores",
        score=stability(*score[1:]),
        features={name: stability(before, now) for name, before, now in features},
        moved={
            name: stability(before, now)
            for name, before, now in [*features, score]
            if stability(before, now) > max(request.psi_limit, chance(before, now, len(pairs) + 1))
        },
    )


def fairness_of(
    request: CheckRequest, groups: Mapping[str, tuple[int, float, int]]
) -> Fairness | None:
    """Calculate the four-fifths ratios of groups `{value: (leads, mean score, selected)}`."""
    if request.attribute is None:
        return None
    large = {value: group for value, group in groups.items() if group[0] >= request.min_leads}
    best = max((selected / leads for leads, _, selected in large.values()), default=0)
    rated = [
        Group(
            value=value,
            leads=leads,
            mean_score=round(mean, 2),
            selected=selected,
            rate=round(selected / leads, 4),
            ratio=round(selected / leads / best, 4) if best else 1.0,
        )
        for value, (leads, mean, selected) in large.items()
    ]
    return Fairness(
        attribute=request.attribute,
        selected_from=request.selected_from,
        groups=sorted(rated, key=lambda group: -group.leads),
        min_ratio=min((group.ratio for group in rated), default=None),
    )


def alerts_of(
    run_id: str, request: CheckRequest, drift: Sequence[Drift], fairness: Fairness | None
) -> list[NewAlert]:
    """Return the alerts to raise: for each model whose leads have moved, and for each group that is
    selected too rarely."""
    alerts = _drift_alerts(run_id, request, drift)
    return alerts + _fairness_alerts(run_id, request, fairness) if fairness else alerts


def _drift_alerts(run_id: str, request: CheckRequest, drift: Sequence[Drift]) -> list[NewAlert]:
    return [
        NewAlert(
            kind=AlertKind.SCORES_DRIFTED,
            subject=each.model_version,
            data={"run_id": run_id, "psi": each.moved, "limit": request.psi_limit},
        )
        for each in drift
        if each.moved
    ]


def _fairness_alerts(run_id: str, request: CheckRequest, fairness: Fairness) -> list[NewAlert]:
    return [
        NewAlert(
            kind=AlertKind.SCORES_UNFAIR,
            subject=f"{fairness.attribute}={group.value}",
            data={
                "run_id": run_id,
                "attribute": fairness.attribute,
                "group": group.value,
                "ratio": group.ratio,
                "limit": request.ratio_limit,
            },
        )
        for group in fairness.groups
        if group.ratio < request.ratio_limit
    ]


def check_spec(run: RunRef, user_id: str, request: CheckRequest) -> RunSpec:
    """Describe the run that checks scores."""
    input = CheckInput(tenant_id=run.tenant_id, user_id=user_id, request=request)
    return RunSpec(
        run=run,
        kind=Kind.CHECK,
        subject_id="scores",
        user_id=user_id,
        model="",
        summary=f"Check the scores of {request.days:g} days for {user_id:.60}",
        input=input.model_dump(mode="json"),
    )


def _scores(observations: Sequence[Observation]) -> list[float]:
    return [score for score, _ in observations]


def _columns(observations: Sequence[Observation]) -> dict[str, list[Value]]:
    """Return the values of the leads, feature by feature."""
    names = sorted({name for _, features in observations for name in features})
    return {name: [features.get(name) for _, features in observations] for name in names}


def _shape(values: Sequence[Value]) -> Histogram:
    if all(map(is_number, values)):
        numbers = sorted(float(value) for value in values if is_number(value))
        tenths = [numbers[len(numbers) * tenth // 10] for tenth in range(1, 10)] if numbers else []
        edges = tuple(dict.fromkeys(tenths))
        return Histogram(edges=edges, shares=(0.0,) * (len(edges) + 2))
    counted: dict[str, int] = {}
    for value in values:
        counted[str(level_text(value))] = counted.get(str(level_text(value)), 0) + 1
    ranked = sorted(counted, key=lambda level: (-counted[level], level))[:_MAX_LEVELS]
    # Of the rare ones some are missing by chance: chi-squared needs five leads in a bin.
    levels = [level for level in ranked if counted[level] >= _MIN_LEADS_OF_LEVEL] or ranked[:1]
    return Histogram(levels=tuple(levels), shares=(0.0,) * (len(levels) + 2))


def _bin(shape: Histogram, value: Value) -> int:
    """Return the index of a value's bin; the last is for what is not known."""
    if value is None:
        return len(shape.shares) - 1
    if shape.levels:
        level = level_text(value)
        return shape.levels.index(level) if level in shape.levels else len(shape.levels)
    if not is_number(value):
        return len(shape.shares) - 1
    return bisect_right(shape.edges, float(value))
