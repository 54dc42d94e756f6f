"""Learned models: logistic regression and boosted trees, as data, with factors that add up.

A model's log-odds are a base and one part per input. The parts become points by sharing out the
difference that they make to the calibrated probability: each gets its part times the slope of the
secant between the base and the lead (Aumann and Shapley's value of a function of a sum).
"""

import math
from typing import Literal

from pydantic import Field

from domain.base import Contract
from domain.scores import Component, Score, bounded
from domain.scoring.inputs import Input, as_number
from domain.scoring.subjects import Subject, Value
from domain.scoring.trees import Tree

_FLAT = 1e-9


class Learned(Contract):
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

    def features(self, subject: Subject) -> dict[str, Value]:
        """What the model reads of a subject."""
        return {item.name: item.read(subject) for item in self.inputs}

    def score(self, features: dict[str, Value]) -> Score:
        """100 times the calibrated probability that the lead is won, and what makes it so."""
        values = [features.get(item.name) for item in self.inputs]
        parts = self._parts(values)
        lead = self.base + sum(parts)
        start = self.probability(self.base)
        factor = self._points_per_part(lead, start)
        components = [_base(start)]
        for item, value, part, weight in zip(
            self.inputs, values, parts, self.importance, strict=True
        ):
            points = round(100 * factor * part, 2)
            if points:
                components.append(_component(item.name, value, weight, points, self.slope * part))
        score, complete = bounded(components)
        return Score.model_construct(
            score=score,
            confidence=self._confidence(values),
            components=complete,
            features=features,
        )

    def log_odds(self, features: dict[str, Value]) -> float:
        """The log-odds before calibration."""
        return self.base + sum(self._parts([features.get(item.name) for item in self.inputs]))

    def probability(self, log_odds: float) -> float:
        """The calibrated probability of log-odds."""
        return sigmoid(self.slope * log_odds + self.offset)

    def _points_per_part(self, lead: float, start: float) -> float:
        difference = lead - self.base
        if abs(difference) < _FLAT:
            return self.slope * start * (1 - start)
        return (self.probability(lead) - start) / difference

    def _parts(self, values: list[Value]) -> list[float]:
        if self.algorithm == "logistic":
            weighted = zip(self.inputs, self.weights, values, strict=True)
            return [_linear(item, weights, value) for item, weights, value in weighted]
        row = [item.number(value) for item, value in zip(self.inputs, values, strict=True)]
        parts = [0.0] * len(row)
        for tree in self.trees:
            for feature, part in tree.contributions(row):
                parts[feature] += part
        return parts

    def _confidence(self, values: list[Value]) -> float:
        known = sum(
            weight
            for weight, value in zip(self.importance, values, strict=True)
            if value is not None
        )
        return round(min(1.0, known), 3)


def sigmoid(value: float) -> float:
    """1 / (1 + exp(-value)), for any value."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    return math.exp(value) / (1 + math.exp(value))


def _linear(item: Input, weights: tuple[float, ...], value: Value) -> float:
    """The weighted difference from the average lead; nothing for what is not known."""
    if not item.levels:
        number = as_number(value)
        return 0.0 if math.isnan(number) else weights[0] * (number - item.mean) / item.scale
    level = item.level(value)
    if level is None:
        return 0.0
    average = sum(w * share for w, share in zip(weights, item.frequencies, strict=True))
    return weights[level] - average


def _base(start: float) -> Component:
    points = round(100 * start, 2)
    words = "What an average lead of the training data has."
    return Component.model_construct(
        factor="base", weight=1.0, value=None, contribution=points, explanation=words
    )


def _component(name: str, value: Value, weight: float, points: float, part: float) -> Component:
    shown = "unknown" if value is None else f"{value:g}" if isinstance(value, float) else value
    words = f"{name} is {shown}: it multiplies the odds by {math.exp(min(part, 50)):.2f}."
    return Component.model_construct(
        factor=name, weight=round(weight, 4), value=value, contribution=points, explanation=words
    )
