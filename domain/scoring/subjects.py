"""Subjects: leads at one moment, in the shape that models read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

Value = float | int | str | bool | None
SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One event of a lead, `age_days` before the moment of scoring."""

    type: str
    age_days: float
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subject:
    """A lead at the moment of scoring. Behaviours are those before that moment, at most the
    latest 500 of the last 365 days."""

    lead_id: str
    profile: Mapping[str, Any]
    behaviours: Sequence[Behaviour] = ()


def at_path(profile: Mapping[str, Any], path: str) -> Any:
    """Return the value at `a.b.c` in nested objects, or None."""
    if path in profile:
        return profile[path]
    value: Any = profile
    for part in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def plain(value: Any) -> Value:
    """Return a value that a model can read; None for objects and lists."""
    return value if isinstance(value, str | bool | int | float) else None


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a number; true and false are not: they are levels."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_same(one: object, other: object) -> bool:
    """Return whether two values are equal: 1 is 1.0, but not true."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
