"""Checks: have inputs and scores moved since training, and are groups of leads treated alike."""

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

_LASTING = 1_000
_SCORE_EDGES = tuple(float(edge) for edge in range(10, 100, 10))
_MOST_LEVELS, _LEAST_OF_A_LEVEL = 30, 5

# A lead's score, and the features that it was made from.
Seen = tuple[float, Mapping[str, Value]]
Attribute = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(storable)]


class CheckOrder(StrictModel):
    """What to look at: the shown scores of the last days; `attribute` is a field of the profile.

    A population stability index above `psi_limit` raises an alert (0.1: some, 0.25: much change by
    the usual reading) where chance alone would not explain it, and so does a group whose selection
    rate (scores from `selected_from` on) is below `ratio_limit` of the best group's: the
    four-fifths rule of the US Uniform Guidelines on Employee Selection Procedures (29 CFR 1607.4
    D). `least` is a number of leads: models and groups with fewer are not judged.
    """

    days: float = Field(default=7, gt=0, le=366)
    attribute: Attribute | None = None
    selected_from: float = Field(default=50, ge=0, le=100)
    psi_limit: float = Field(default=0.2, gt=0)
    ratio_limit: float = Field(default=0.8, gt=0, le=1)
    least: int = Field(default=30, ge=1)


class CheckInput(RunInput):
    """What ScoreCheck starts with; the run's id is in the workflow's own."""

    tenant_id: str
    user_id: str
    order: CheckOrder = CheckOrder()


class CheckRef(Contract):
    """One check, for its activity."""

    run: RunRef
    user_id: str
    order: CheckOrder


class CheckResult(Contract):
    """How a check ended, and how many alerts it raised."""

    outcome: Outcome
    alerts: int = 0


class Watched(Contract):
    """A model whose scores are looked at. `baseline`: what they are compared with, if known."""

    model: str
    trained: bool
    baseline: Baseline | None


class Drift(Contract):
    """How far a model's inputs and scores have moved: `score` and `features` hold population
    stability indices, `moved` those of them that deserve an alert.

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
    """How groups of leads are treated, the largest first."""

    attribute: str
    selected_from: float
    groups: list[Group]
    least_ratio: float | None


class Check(Contract):
    """What a check has found."""

    run_id: str
    order: CheckOrder
    drift: list[Drift]
    fairness: Fairness | None
    alerts: int
    created_at: datetime


def histogram(values: Sequence[Value], like: Histogram | None = None) -> Histogram:
    """How values are distributed, in the bins of another histogram or in bins of their own:
    tenths of the numbers, or the most frequent texts."""
    shape = like or _shape([value for value in values if value is not None])
    counts = [0] * len(shape.shares)
    for value in values:
        counts[_place(shape, value)] += 1
    shares = tuple(count / (len(values) or 1) for count in counts)
    return shape.model_copy(update={"shares": shares, "leads": len(values)})


def score_histogram(scores: Sequence[float]) -> Histogram:
    """Scores in ten bins of ten points."""
    empty = Histogram(edges=_SCORE_EDGES, shares=(0.0,) * (len(_SCORE_EDGES) + 2))
    return histogram(scores, empty)


def baseline_of(seen: Sequence[Seen], least: int) -> Baseline | None:
    """What these leads looked like, in bins of their own; None for fewer than `least`."""
    if len(seen) < least:
        return None
    features = {name: histogram(column) for name, column in _columns(seen).items()}
    return Baseline(features=features, score=score_histogram([score for score, _ in seen]))


def is_lasting(baseline: Baseline) -> bool:
    """Whether a baseline has leads enough to stay as it is; a smaller one is found again."""
    return (baseline.score.leads or 0) >= _LASTING


def drift_of(order: CheckOrder, watched: Watched, seen: Sequence[Seen]) -> Drift:
    """What has moved between a model's baseline and these leads."""
    found = Drift(
        model_version=watched.model, leads=len(seen), compared_with=None, score=None, features={}
    )
    if watched.baseline is None or len(seen) < order.least:
        return found
    columns, shapes = _columns(seen), watched.baseline.features
    pairs = [(name, shape, columns[name]) for name, shape in shapes.items() if name in columns]
    features = [(name, shape, histogram(column, shape)) for name, shape, column in pairs]
    score = ("score", watched.baseline.score, score_histogram([score for score, _ in seen]))
    return Drift(
        model_version=watched.model,
        leads=len(seen),
        compared_with="training" if watched.trained else "first scores",
        score=stability(*score[1:]),
        features={name: stability(before, now) for name, before, now in features},
        moved={
            name: stability(before, now)
            for name, before, now in [*features, score]
            if stability(before, now) > max(order.psi_limit, chance(before, now, len(pairs) + 1))
        },
    )


def fairness_of(order: CheckOrder, groups: Mapping[str, tuple[int, float, int]]) -> Fairness | None:
    """The four-fifths ratios of groups `{value: (leads, mean score, selected)}`."""
    if order.attribute is None:
        return None
    large = {value: found for value, found in groups.items() if found[0] >= order.least}
    best = max((selected / leads for leads, _, selected in large.values()), default=0)
    made = [
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
        attribute=order.attribute,
        selected_from=order.selected_from,
        groups=sorted(made, key=lambda group: -group.leads),
        least_ratio=min((group.ratio for group in made), default=None),
    )


def alerts_of(
    run_id: str, order: CheckOrder, drift: Sequence[Drift], fairness: Fairness | None
) -> list[NewAlert]:
    """What deserves an alert: a model whose leads have moved, a group that is left out."""
    drifted = [
        NewAlert(
            kind=AlertKind.SCORES_DRIFTED,
            subject=each.model_version,
            data={"run_id": run_id, "psi": each.moved, "limit": order.psi_limit},
        )
        for each in drift
        if each.moved
    ]
    if fairness is None:
        return drifted
    unfair = [
        NewAlert(
            kind=AlertKind.SCORES_UNFAIR,
            subject=f"{fairness.attribute}={group.value}",
            data={
                "run_id": run_id,
                "attribute": fairness.attribute,
                "group": group.value,
                "ratio": group.ratio,
                "limit": order.ratio_limit,
            },
        )
        for group in fairness.groups
        if group.ratio < order.ratio_limit
    ]
    return drifted + unfair


def launch_of(run: RunRef, user_id: str, order: CheckOrder) -> RunSpec:
    """The run that checks scores."""
    asked = CheckInput(tenant_id=run.tenant_id, user_id=user_id, order=order)
    return RunSpec(
        run=run,
        kind=Kind.CHECK,
        subject_id="scores",
        user_id=user_id,
        model="",
        summary=f"Check the scores of {order.days:g} days for {user_id:.60}",
        input=asked.model_dump(mode="json"),
    )


def _columns(seen: Sequence[Seen]) -> dict[str, list[Value]]:
    """Feature by feature what leads had."""
    names = sorted({name for _, features in seen for name in features})
    return {name: [features.get(name) for _, features in seen] for name in names}


def _shape(values: Sequence[Value]) -> Histogram:
    if all(map(is_number, values)):
        numbers = sorted(float(value) for value in values if is_number(value))
        tenths = [numbers[len(numbers) * tenth // 10] for tenth in range(1, 10)] if numbers else []
        edges = tuple(dict.fromkeys(tenths))
        return Histogram(edges=edges, shares=(0.0,) * (len(edges) + 2))
    counted: dict[str, int] = {}
    for value in values:
        counted[str(level_text(value))] = counted.get(str(level_text(value)), 0) + 1
    ranked = sorted(counted, key=lambda level: (-counted[level], level))[:_MOST_LEVELS]
    # Of the rare ones some are not seen by chance: chi-squared wants five leads in a bin.
    levels = [level for level in ranked if counted[level] >= _LEAST_OF_A_LEVEL] or ranked[:1]
    return Histogram(levels=tuple(levels), shares=(0.0,) * (len(levels) + 2))


def _place(shape: Histogram, value: Value) -> int:
    """The bin of a value; the last is for what is not known."""
    if value is None:
        return len(shape.shares) - 1
    if shape.levels:
        level = level_text(value)
        return shape.levels.index(level) if level in shape.levels else len(shape.levels)
    if not is_number(value):
        return len(shape.shares) - 1
    return bisect_right(shape.edges, float(value))
