"""Checks: have inputs and scores moved since training, and are groups of leads treated alike."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from domain.base import Contract, Order
from domain.names import Kind
from domain.runs import Launch, Outcome, RunRef
from domain.scoring.inputs import level_text
from domain.scoring.subjects import Value
from domain.scoring_models import Baseline, Histogram
from domain.stored import storable

_LEAST_SHARE = 1e-4
_SCORE_EDGES = tuple(float(edge) for edge in range(10, 100, 10))
_MOST_LEVELS = 30


Attribute = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(storable)]


class CheckOrder(Order):
    """What to look at: the shown scores of the last days; `attribute` is a field of the profile.

    A population stability index above `psi_limit` raises an alert (0.1: some, 0.25: much change by
    the usual reading), and so does a group whose selection rate (scores from `selected_from` on)
    is below `ratio_limit` of the best group's: the four-fifths rule of the US Uniform Guidelines
    on Employee Selection Procedures (29 CFR 1607.4 D). Groups of fewer than `least` leads are left
    out.
    """

    days: float = Field(default=7, gt=0, le=366)
    attribute: Attribute | None = None
    selected_from: float = Field(default=50, ge=0, le=100)
    psi_limit: float = Field(default=0.2, gt=0)
    ratio_limit: float = Field(default=0.8, gt=0, le=1)
    least: int = Field(default=30, ge=1)


class CheckInput(Contract):
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


class Drift(Contract):
    """How far a model's inputs and scores have moved. `compared_with`: `training`, or the model's
    `first scores` where it was not trained; None: too few leads to tell."""

    model_version: str
    leads: int
    compared_with: str | None
    score: float | None
    features: dict[str, float]


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
    whole = len(values) or 1
    return shape.model_copy(update={"shares": tuple(count / whole for count in counts)})


def score_histogram(scores: Sequence[float]) -> Histogram:
    """Scores in ten bins of ten points."""
    empty = Histogram(edges=_SCORE_EDGES, shares=(0.0,) * (len(_SCORE_EDGES) + 2))
    return histogram(scores, empty)


def stability(expected: Histogram, found: Histogram) -> float:
    """The population stability index: the sum of (found - expected) * ln(found / expected) over
    all bins, where an empty bin counts as one lead in ten thousand."""
    pairs = zip(expected.shares, found.shares, strict=True)
    return round(sum(map(_moved, pairs)), 4)


def drift_of(
    model: str,
    baseline: Baseline | None,
    source: str,
    features: Mapping[str, Sequence[Value]],
    scores: Sequence[float],
) -> Drift:
    """What has moved between a baseline and these leads."""
    if baseline is None:
        return Drift(
            model_version=model, leads=len(scores), compared_with=None, score=None, features={}
        )
    moved = {
        name: stability(expected, histogram(features[name], expected))
        for name, expected in baseline.features.items()
        if name in features
    }
    return Drift(
        model_version=model,
        leads=len(scores),
        compared_with=source,
        score=stability(baseline.score, score_histogram(scores)),
        features=moved,
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


def launch_of(run: RunRef, user_id: str, order: CheckOrder) -> Launch:
    """The run that checks scores."""
    asked = CheckInput(tenant_id=run.tenant_id, user_id=user_id, order=order)
    return Launch(
        run=run,
        kind=Kind.CHECK,
        subject_id="scores",
        user_id=user_id,
        model="",
        summary=f"Check the scores of {order.days:g} days for {user_id:.60}",
        input=asked.model_dump(mode="json"),
        urgent=False,
    )


def _moved(pair: tuple[float, float]) -> float:
    expected, found = (max(share, _LEAST_SHARE) for share in pair)
    return (found - expected) * math.log(found / expected)


def _shape(values: Sequence[Value]) -> Histogram:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = sorted(float(value) for value in values if isinstance(value, int | float))
        tenths = [numbers[len(numbers) * tenth // 10] for tenth in range(1, 10)] if numbers else []
        edges = tuple(dict.fromkeys(tenths))
        return Histogram(edges=edges, shares=(0.0,) * (len(edges) + 2))
    counted: dict[str, int] = {}
    for value in values:
        counted[str(level_text(value))] = counted.get(str(level_text(value)), 0) + 1
    frequent = sorted(counted, key=lambda level: (-counted[level], level))[:_MOST_LEVELS]
    return Histogram(levels=tuple(frequent), shares=(0.0,) * (len(frequent) + 2))


def _place(shape: Histogram, value: Value) -> int:
    """The bin of a value; the last is for what is not known."""
    if value is None:
        return len(shape.shares) - 1
    if shape.levels:
        level = level_text(value)
        return shape.levels.index(level) if level in shape.levels else len(shape.levels)
    if isinstance(value, str):
        return len(shape.shares) - 1
    return bisect_right(shape.edges, float(value))
