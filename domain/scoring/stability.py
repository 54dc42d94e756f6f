"""The population stability index, and the part of it that chance explains."""

import math
from statistics import NormalDist

from domain.scoring.models import Histogram

_FALSE_ALARMS = 0.001


def stability(expected: Histogram, actual: Histogram) -> float:
    """Calculate the population stability index: the sum of (actual - expected) * ln(actual /
    expected) over all bins, where a bin that is empty on one side counts as half a lead."""
    before, now = _leads(expected, actual)
    shares = zip(expected.shares, actual.shares, strict=True)
    pairs = [(max(old, 0.5 / before), max(new, 0.5 / now)) for old, new in shares if old or new]
    return round(sum((new - old) * math.log(new / old) for old, new in pairs), 4)


def chance(expected: Histogram, actual: Histogram, indices: int = 1) -> float:
    """Calculate the index that chance alone exceeds in one of a thousand checks of so many
    indices.

    Without any change, the index of n leads against m is (1/n + 1/m) times chi-squared, with one
    degree of freedom less than there are bins (B. Yurdakul, "Statistical Properties of Population
    Stability Index", Western Michigan University, 2018). The quantile is Wilson's and Hilferty's
    (1931), the correction for several indices Bonferroni's.
    """
    before, now = _leads(expected, actual)
    bins = sum(1 for pair in zip(expected.shares, actual.shares, strict=True) if any(pair))
    freedom = max(bins - 1, 1)
    spread = 2 / (9 * freedom)
    z = NormalDist().inv_cdf(1 - _FALSE_ALARMS / indices)
    return freedom * (1 - spread + z * math.sqrt(spread)) ** 3 * (1 / now + 1 / before)


def _leads(expected: Histogram, actual: Histogram) -> tuple[int, int]:
    """Return how many leads are compared; a baseline that did not count its leads is much the
    larger."""
    now = actual.leads or 1
    return expected.leads or 100 * now, now
