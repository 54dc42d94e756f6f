"""Rules: a readable file of weighted conditions, with behaviour that counts less as time goes by.

A rule set is TOML: `base` points, then `[[rule]]` tables. Each rule has a `factor`, `points`, and
either a `field` of the profile with one condition, or an `event` type with `half_life_days`
(each event counts 0.5 ** (age / half life)) or `within_days` (each one counts 1 until then).
"""

import tomllib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from domain.scoring.errors import RulesInvalid
from domain.scoring.scores import Component, Score, bounded
from domain.scoring.subjects import Behaviour, Subject, Value, at_path, is_number, is_same, plain

_CONDITIONS = ("equals", "is_in", "contains", "at_least", "below", "known")
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Rule(BaseModel):
    """One weighted condition. `points` are for a profile that meets it, or for each event (once
    decayed); `max_points` limits what events may add."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    factor: Name
    points: float = Field(ge=-100, le=100)
    explanation: str = Field(default="", max_length=300)
    field: Name | None = None
    equals: str | bool | float | None = None
    is_in: tuple[str | bool | float, ...] | None = None
    contains: Name | None = None
    at_least: float | None = None
    below: float | None = None
    known: Literal[True] | None = None
    event: Name | None = None
    half_life_days: float | None = Field(default=None, gt=0)
    within_days: float | None = Field(default=None, gt=0, le=365)
    max_points: float | None = Field(default=None, ge=0, le=100)
    where: dict[str, str | bool | float] = {}

    @model_validator(mode="after")
    def _complete(self) -> "Rule":
        if (self.field is None) == (self.event is None):
            raise ValueError("a rule is about a field or about an event")
        given = [name for name in _CONDITIONS if getattr(self, name) is not None]
        if self.field is not None and not given:
            raise ValueError(f"a field needs one of: {', '.join(_CONDITIONS)}")
        if self.event is not None and (given or not (self.half_life_days or self.within_days)):
            raise ValueError("an event needs half_life_days or within_days, and no condition")
        return self

    @property
    def feature(self) -> str:
        """Return the name of the feature that this rule reads."""
        if self.field is not None:
            return self.field
        fading = f"~{self.half_life_days:g}d" if self.half_life_days else ""
        window = f"<{self.within_days:g}d" if self.within_days else ""
        chosen = ",".join(f"{name}={value}" for name, value in sorted(self.where.items()))
        return f"events.{self.event}{fading}{window}{f'[{chosen}]' if chosen else ''}"

    def read(self, subject: Subject) -> Value:
        """Read the feature: a field's value, or how much its events still count."""
        if self.field is not None:
            return plain(at_path(subject.profile, self.field))
        if not subject.behaviours:
            return 0.0
        return round(sum(map(self._counts, subject.behaviours)), 4)

    def holds(self, value: Value) -> bool:
        """Return whether a field's value meets every condition of the rule."""
        if value is None:
            return False
        return (
            (self.equals is None or is_same(value, self.equals))
            and (self.is_in is None or any(is_same(value, one) for one in self.is_in))
            and (self.contains is None or self.contains.lower() in str(value).lower())
            and (self.at_least is None or (is_number(value) and value >= self.at_least))
            and (self.below is None or (is_number(value) and value < self.below))
        )

    def points_for(self, value: Value) -> float:
        """Return the points that a value is worth."""
        if self.field is not None:
            return self.points if self.holds(value) else 0.0
        points = self.points * float(value or 0)
        if self.max_points is not None:
            points = max(-self.max_points, min(self.max_points, points))
        return round(points, 2)

    def _counts(self, behaviour: Behaviour) -> float:
        if behaviour.type != self.event or behaviour.age_days < 0:
            return 0.0
        if self.within_days is not None and behaviour.age_days >= self.within_days:
            return 0.0
        given = behaviour.properties
        if not all(is_same(given.get(name), value) for name, value in self.where.items()):
            return 0.0
        if self.half_life_days is None:
            return 1.0
        return float(0.5 ** (behaviour.age_days / self.half_life_days))


class RuleSet(BaseModel):
    """A validated rule file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = Field(default="", max_length=2000)
    base: float = Field(default=0, ge=0, le=100)
    rule: tuple[Rule, ...] = Field(min_length=1, max_length=200)


class RuleScorer:
    """A rule set, ready to score."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = [(rule, rule.feature) for rule in rules.rule]
        self._base = rules.base
        self._weight = sum(abs(rule.points) for rule in rules.rule)
        self._fields = [
            (name, abs(rule.points)) for rule, name in self._rules if rule.field is not None
        ]

    def features(self, subject: Subject) -> dict[str, Value]:
        """Read the features of a subject."""
        return {name: rule.read(subject) for rule, name in self._rules}

    def score(self, features: dict[str, Value]) -> Score:
        """Add up the base and the points of each rule that holds."""
        components = []
        if self._base:
            text = "Every lead begins here."
            components.append(Component("base", self._base, 1, self._base, text))
        for rule, name in self._rules:
            value = features.get(name)
            points = rule.points_for(value)
            if points:
                text = rule.explanation or _explained(rule, value)
                components.append(Component(rule.factor, rule.points, value, points, text))
        score, complete = bounded(components)
        return Score(score, self._confidence(features), complete, features)

    def _confidence(self, features: dict[str, Value]) -> float:
        # Behaviour that did not happen is known as well: only fields can be unknown.
        missing = sum(points for name, points in self._fields if features.get(name) is None)
        return round(1 - missing / self._weight, 3) if self._weight else 1.0


def parse(text: str) -> RuleSet:
    """Read a rule set from TOML. Raises RulesInvalid, which names each wrong path."""
    try:
        return RuleSet.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RulesInvalid(f"The rules are not TOML: {error}.") from None
    except ValidationError as error:
        raise RulesInvalid(readable(error)) from None


def readable(error: ValidationError) -> str:
    """Describe a validation error by path: `rule.2.points: …`."""
    lines = [
        (".".join(map(str, item["loc"])) or "all", item["msg"].removeprefix("Value error, "))
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    paths = [path for path, _ in lines]
    # A list whose items are wrong is also too short: that says nothing more.
    return "; ".join(
        f"{path}: {message}"
        for path, message in lines
        if not any(other.startswith(f"{path}.") for other in paths)
    )


def _explained(rule: Rule, value: Value) -> str:
    if rule.event is not None:
        return f"{rule.event}: {value:g} events, the older ones counted less."
    return f"{rule.field} is {value!r}."
