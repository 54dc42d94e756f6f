"""Inputs: values of a lead that a learned model reads, and the numbers that it makes of them."""

import math
from collections.abc import Sequence
from typing import Literal

from domain.base import Contract
from domain.scoring.subjects import Behaviour, Subject, Value, at_path, is_number, plain

WINDOW_DAYS = 90.0
NEVER_DAYS = 365.0


class Input(Contract):
    """One input: a field of the profile, the count of an event type in the last 90 days, or the
    days since the last one (365: never).

    With `levels` it is a choice among texts, each with its `frequencies` in the training data and
    its `ranks` by outcome; without, a number with its `mean` and `scale` (standard deviation).
    """

    source: Literal["field", "count", "recency"]
    key: str
    levels: tuple[str, ...] = ()
    frequencies: tuple[float, ...] = ()
    ranks: tuple[float, ...] = ()
    mean: float = 0
    scale: float = 1

    @property
    def name(self) -> str:
        """Return the input's name in features and components."""
        if self.source == "field":
            return self.key
        return f"events.{self.key}" if self.source == "count" else f"days_since.{self.key}"

    def read(self, subject: Subject) -> Value:
        """Read this input's value of a subject; None if it is not known."""
        if self.source == "field":
            return plain(at_path(subject.profile, self.key))
        return behaviour(self.source, self.key, subject.behaviours)

    def number(self, value: Value) -> float:
        """Return the value as a tree reads it: a number, a level's rank, or NaN if it is not
        known."""
        if self.levels:
            level = self.level(value)
            return math.nan if level is None else self.ranks[self.levels.index(level)]
        return as_number(value)

    def level(self, value: Value) -> str | None:
        """Return the level of a value: the nearest of levels that are numbers; None if it has
        none."""
        text = level_text(value)
        if text is None or text in self.levels:
            return text
        number = as_number(value)
        if math.isnan(number):
            return None
        numbers = [(abs(float(level) - number), level) for level in self.levels if _numeric(level)]
        return min(numbers)[1] if len(numbers) == len(self.levels) else None


def behaviour(
    source: Literal["count", "recency"], kind: str, behaviours: Sequence[Behaviour]
) -> float:
    """Count how often something happened in the last 90 days, or the days since it did last."""
    ages = [each.age_days for each in behaviours if each.type == kind and each.age_days >= 0]
    if source == "count":
        return float(sum(age < WINDOW_DAYS for age in ages))
    return days_since(min(ages, default=NEVER_DAYS))


def days_since(age_days: float) -> float:
    """Return the days since something, as models read them: four decimals, 365 at most."""
    return round(min(age_days, NEVER_DAYS), 4)


def level_text(value: Value) -> str | None:
    """Return a value as the name of a level."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if isinstance(value, int | float) else value


def _numeric(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def as_number(value: Value) -> float:
    """Return a value as a number; NaN for what is none."""
    return float(value) if is_number(value) else math.nan
