"""Reports: what arms came to, side by side, with how sure one can be."""

import math

from domain.base import Contract
from domain.scores import Bin

_Z = 1.959964


class Conversion(Contract):
    """How many of the leads whose outcome is known were won. `low` and `high` bound the rate with
    95 % confidence (Wilson's score interval, 1927); None without an outcome."""

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
    """What one arm came to. Its deciles are those of its own scores. `trained_on`: how many of
    these leads its model has learned from, which flatters it."""

    arm: str
    model_version: str
    leads: int
    mean_score: float
    distribution: list[Bin]
    cost_micros: int
    trained_on: int
    conversion: Conversion
    deciles: list[Decile]


class Agreement(Contract):
    """How far two arms agree on the leads that both have scored: Pearson's correlation (None if
    one of them never varies), the mean distance in points, the share of leads within five points,
    and the share of one's best tenth that is in the other's."""

    arms: tuple[str, str]
    leads: int
    correlation: float | None
    mean_difference: float
    within_five: float
    best_tenth: float


class Comparison(Contract):
    """Arms side by side."""

    arms: list[ArmReport]
    agreement: list[Agreement]


def conversion(ended: int, won: int) -> Conversion:
    """A rate with its interval."""
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
