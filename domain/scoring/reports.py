"""Reports: arms compared side by side, with confidence intervals."""

import math

from domain.base import Contract
from domain.scoring.scores import Bin

_Z = 1.959964


class Interval(Contract):
    """A figure with its 95 % confidence bounds."""

    value: float
    low: float
    high: float


class Conversion(Contract):
    """The leads whose outcome is known, and how many of them were won. `low` and `high` bound the
    rate with 95 % confidence (Wilson's score interval, 1927); None without an outcome."""

    ended: int
    won: int
    rate: float | None
    low: float | None
    high: float | None


class Decile(Contract):
    """A tenth of an arm's leads, the best scores first."""

    decile: int
    leads: int
    mean_score: float
    conversion: Conversion


class ArmReport(Contract):
    """The results of one arm. Its deciles are those of its own scores. `trained_on`: how many of
    these leads its model has learned from, which flatters it. `auc`: how often a won lead ranks
    above a lost one (equal: half); None unless there are both."""

    arm: str
    model_version: str
    leads: int
    mean_score: float
    distribution: list[Bin]
    cost_micros: int
    trained_on: int
    conversion: Conversion
    auc: Interval | None
    deciles: list[Decile]


class Agreement(Contract):
    """The agreement of two arms on the leads that both have scored: Pearson's correlation (None
    if one of them never varies), the mean distance in points, the share of leads within five
    points, and the share of one's best tenth that is in the other's."""

    arms: tuple[str, str]
    leads: int
    correlation: float | None
    mean_difference: float
    within_five: float
    best_tenth: float


class Difference(Contract):
    """The difference between the win rates of two arms, the first less the second. Bounds that
    leave out 0 say that it is hardly chance."""

    arms: tuple[str, str]
    difference: Interval


class Comparison(Contract):
    """Arms side by side. `differences` are those of an experiment's visible arms: only their leads
    were treated by their scores."""

    arms: list[ArmReport]
    agreement: list[Agreement]
    differences: list[Difference] = []


def conversion(ended: int, won: int) -> Conversion:
    """Return a rate with its interval."""
    if not ended:
        return Conversion(ended=0, won=0, rate=None, low=None, high=None)
    rate, squared = won / ended, _Z * _Z
    middle = (rate + squared / (2 * ended)) / (1 + squared / ended)
    spread = rate * (1 - rate) / ended + squared / (4 * ended * ended)
    reach = _Z * math.sqrt(spread) / (1 + squared / ended)
    return Conversion(
        ended=ended,
        won=won,
        rate=round(rate, 4),
        low=round(max(0.0, middle - reach), 4),
        high=round(min(1.0, middle + reach), 4),
    )


def auc(won: int, lost: int, ranks: float) -> Interval | None:
    """Calculate the area under the ROC curve from the sum of the won leads' ranks (Mann and
    Whitney), with the standard error of Hanley and McNeil (1982)."""
    if not won or not lost:
        return None
    area = (ranks - won * (won + 1) / 2) / (won * lost)
    above, below = area / (2 - area), 2 * area * area / (1 + area)
    squared = area * area
    variance = area * (1 - area) + (won - 1) * (above - squared) + (lost - 1) * (below - squared)
    reach = _Z * math.sqrt(max(variance, 0.0) / (won * lost))
    return _interval(area, max(0.0, area - reach), min(1.0, area + reach))


def difference(one: Conversion, other: Conversion) -> Interval | None:
    """Subtract one rate from another, with the interval of Newcombe (1998, his tenth method): the
    distances to the bounds of Wilson's intervals, squared and added. None if either has no
    outcome."""
    a, b = _rate(one), _rate(other)
    if a is None or b is None:
        return None
    middle = a.value - b.value
    down = math.hypot(a.value - a.low, b.high - b.value)
    up = math.hypot(a.high - a.value, b.value - b.low)
    return _interval(middle, middle - down, middle + up)


def _rate(of: Conversion) -> Interval | None:
    if of.rate is None or of.low is None or of.high is None:
        return None
    return Interval(value=of.rate, low=of.low, high=of.high)


def _interval(value: float, low: float, high: float) -> Interval:
    return Interval(value=round(value, 4), low=round(low, 4), high=round(high, 4))
