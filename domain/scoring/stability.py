"""The population stability index, and how much of it is chance."""

import math
from statistics import NormalDist

from domain.scoring.models import Histogram

_FALSE_ALARMS = 0.001


def stability(expected: Histogram, found: Histogram) -> float:
    """The population stability index: the sum of (found - expected) * ln(found / expected) over
    all bins, where a bin that is empty on one side counts as half a lead."""
    before, now = _leads(expected, found)
    shares = zip(expected.shares, found.shares, strict=True)
    pairs = [(max(old, 0.5 / before), max(new, 0.5 / now)) for old, new in shares if old or new]
    return round(sum((new - old) * math.log(new / old) for old, new in pairs), 4)


def chance(expected: Histogram, found: Histogram, looks: int = 1) -> float:
    """The index that chance alone exceeds in one of a thousand checks that look at `looks` indices.

    Without any change, the index of n leads against m is (1/n + 1/m) times chi-squared, with one
    degree of freedom less than there are bins (B. Yurdakul, "Statistical Properties of Population
    Stability Index", Western Michigan University, 2018). The quantile is Wilson's and Hilferty's
    (1931), the correction for several looks Bonferroni's.
    """
    before, now = _leads(expected, found)
    bins = sum(1 for pair in zip(expected.shares, found.shares, strict=True) if any(pair))
    freedom = max(bins - 1, 1)
    spread = 2 / (9 * freedom)
    z = NormalDist().inv_cdf(1 - _FALSE_ALARMS / looks)
    return freedom * (1 - spread + z * math.sqrt(spread)) ** 3 * (1 / now + 1 / before)


def _leads(expected: Histogram, found: Histogram) -> tuple[int, int]:
    """How many leads are compared; a baseline that did not count its leads is much the larger."""
    now = found.leads or 1
    return expected.leads or 100 * now, now
