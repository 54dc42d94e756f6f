"""Learned models: logistic regression and boosted trees, as data, with factors that add up.

A model's log-odds are a base and one part per input. The parts become points by sharing out the
difference that they make to the calibrated probability: each gets its part times the slope of the
secant between the base and the lead (Aumann and Shapley's value of a function of a sum).
"""

import math
from typing import Literal

from pydantic import Field

from domain.base import Contract
from domain.scoring.inputs import Input, as_number, level_text
from domain.scoring.scores import Component, Score, bounded
from domain.scoring.subjects import Subject, Value
from domain.scoring.trees import Forest, Tree

_FLAT = 1e-9


class LearnedModel(Contract):
    """A trained model. `weights` are logistic regression's: one per input, or one per level;
    `base` is the log-odds of an average lead; `slope` and `offset` calibrate (Platt, 1999):
    P(won) = 1 / (1 + exp(-(slope * log-odds + offset))). `importance` adds up to 1."""

    algorithm: Literal["logistic", "boosted"]
    inputs: tuple[Input, ...] = Field(min_length=1)
    weights: tuple[tuple[float, ...], ...] = ()
    trees: tuple[Tree, ...] = ()
    base: float
    slope: float = 1
    offset: float = 0
    importance: tuple[float, ...]


class LearnedScorer:
    """A learned model, ready to score."""

    def __init__(self, model: LearnedModel) -> None:
        self.model = model
        self._names = [item.name for item in model.inputs]
        self._forest = Forest(model.trees, len(model.inputs))
        self._linear = [
            _Linear(item, weights)
            for item, weights in zip(model.inputs, model.weights, strict=False)
        ]
        self._start = self.probability(model.base)

    def features(self, subject: Subject) -> dict[str, Value]:
        """Read the inputs of a subject."""
        return {item.name: item.read(subject) for item in self.model.inputs}

    def score(self, features: dict[str, Value]) -> Score:
        """Return 100 times the calibrated probability that the lead is won, and its reasons."""
        values = [features.get(name) for name in self._names]
        parts = self._parts(values)
        factor = 100 * self._points_per_part(self.model.base + sum(parts))
        components = [_base(self._start)]
        weights = self.model.importance
        for name, value, part, weight in zip(self._names, values, parts, weights, strict=True):
            points = round(factor * part, 2)
            if points:
                odds = self.model.slope * part
                components.append(_component(name, value, weight, points, odds))
        score, complete = bounded(components)
        return Score(score, self._confidence(values), complete, features)

    def log_odds(self, features: dict[str, Value]) -> float:
        """Return the log-odds before calibration."""
        return self.model.base + sum(self.parts(features))

    def parts(self, features: dict[str, Value]) -> list[float]:
        """Return what each input adds to the log-odds of the base."""
        return self._parts([features.get(name) for name in self._names])

    def probability(self, log_odds: float) -> float:
        """Return the calibrated probability of log-odds."""
        return sigmoid(self.model.slope * log_odds + self.model.offset)

    def _points_per_part(self, lead: float) -> float:
        difference = lead - self.model.base
        if abs(difference) < _FLAT:
            return self.model.slope * self._start * (1 - self._start)
        return (self.probability(lead) - self._start) / difference

    def _parts(self, values: list[Value]) -> list[float]:
        if self.model.algorithm == "logistic":
            return [read.part(value) for read, value in zip(self._linear, values, strict=True)]
        inputs = zip(self.model.inputs, values, strict=True)
        return self._forest.contributions([item.number(value) for item, value in inputs])

    def _confidence(self, values: list[Value]) -> float:
        weighted = zip(self.model.importance, values, strict=True)
        known = sum((weight for weight, value in weighted if value is not None), 0.0)
        return round(min(1.0, known), 3)


class _Linear:
    """An input of logistic regression: the weighted difference from the average lead, and nothing
    for what is not known."""

    def __init__(self, item: Input, weights: tuple[float, ...]) -> None:
        pairs = zip(weights, item.frequencies, strict=False)
        average = sum(weight * share for weight, share in pairs)
        self._levels = {
            level: weight - average for level, weight in zip(item.levels, weights, strict=False)
        }
        self._item = item
        self._mean, self._slope = item.mean, weights[0] / item.scale

    def _elsewhere(self, value: Value) -> float:
        level = self._item.level(value)
        return 0.0 if level is None else self._levels[level]

    def part(self, value: Value) -> float:
        if self._levels:
            text = level_text(value) or ""
            return self._levels[text] if text in self._levels else self._elsewhere(value)
        number = as_number(value)
        return 0.0 if number != number else self._slope * (number - self._mean)


def sigmoid(value: float) -> float:
    """Return 1 / (1 + exp(-value)), for any value."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    return math.exp(value) / (1 + math.exp(value))


def _base(start: float) -> Component:
    points = round(100 * start, 2)
    text = "An average lead of the training data."
    return Component(factor="base", weight=1.0, value=None, contribution=points, explanation=text)


def _component(name: str, value: Value, weight: float, points: float, part: float) -> Component:
    given = "unknown" if value is None else f"{value:g}" if isinstance(value, float) else value
    text = f"{name} is {given}: it multiplies the odds by {math.exp(min(part, 50)):.2f}."
    return Component(
        factor=name, weight=round(weight, 4), value=value, contribution=points, explanation=text
    )
