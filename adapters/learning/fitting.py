"""Fitting: logistic regression and boosted trees, taken out of scikit-learn as plain data."""

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from adapters.learning.choosing import measured
from domain.errors import Invalid
from domain.scoring.inputs import Input, as_number, level_text
from domain.scoring.learned import Learned, LearnedScorer
from domain.scoring.subjects import Value
from domain.scoring.trees import MOST_LEAVES, Forest, Node, Tree

Rows = Sequence[Sequence[Value]]
Numbers = NDArray[np.float64]
_TREES = 200
_SEED = 0
_CHECKED = 200
_TOLERANCE = 1e-6


class Fitted:
    """A model that was fitted, still able to answer for many rows at once."""

    def __init__(self, algorithm: str, items: Sequence[Input], rows: Rows, won: Sequence[bool]):
        self.inputs = measured(items, rows, won)
        self.algorithm = algorithm
        target = np.asarray(won, dtype=np.int8)
        # One core: the others are for those who wait.
        with threadpool_limits(limits=1):
            self._model = _estimator(algorithm).fit(self._matrix(rows), target)

    def log_odds(self, rows: Rows) -> Numbers:
        """The log-odds of rows, before calibration."""
        with threadpool_limits(limits=1):
            answers: Numbers = self._model.decision_function(self._matrix(rows))
        return answers

    def as_data(self, rows: Rows) -> Learned:
        """The model as data. Raises Invalid (`training_impossible`) if what was taken out does not
        answer as scikit-learn does."""
        made = self._logistic() if self.algorithm == "logistic" else self._boosted()
        # What is proved is what the registry will keep.
        made = Learned.model_validate_json(made.model_dump_json(exclude_defaults=True))
        sample = rows[:_CHECKED]
        features = [_features(self.inputs, row) for row in sample]
        scorer = LearnedScorer(made)
        ours = np.array([scorer.log_odds(each) for each in features])
        if not np.allclose(ours, self.log_odds(sample), atol=_TOLERANCE):
            raise Invalid(
                "The model does not answer as the library's does.", code="training_impossible"
            )
        return made.model_copy(update={"importance": _importance(scorer, features)})

    def _logistic(self) -> Learned:
        weights = iter(self._model.coef_[0].tolist())
        given = tuple(
            tuple(next(weights) for _ in range(max(1, len(item.levels)))) for item in self.inputs
        )
        average = sum(
            weight * share
            for item, own in zip(self.inputs, given, strict=True)
            for weight, share in zip(own, item.frequencies, strict=False)
        )
        return Learned(
            algorithm="logistic",
            inputs=tuple(self.inputs),
            weights=given,
            base=float(self._model.intercept_[0]) + average,
            importance=(0.0,) * len(self.inputs),
        )

    def _boosted(self) -> Learned:
        # scikit-learn keeps these to itself; `as_data` proves that they are read rightly.
        trees = tuple(_tree(one[0].nodes) for one in self._model._predictors)
        start = float(np.ravel(self._model._baseline_prediction)[0])
        return Learned(
            algorithm="boosted",
            inputs=tuple(self.inputs),
            trees=trees,
            base=start + Forest(trees, len(self.inputs)).base,
            importance=(0.0,) * len(self.inputs),
        )

    def _matrix(self, rows: Rows) -> Numbers:
        if self.algorithm == "boosted":
            columns = [
                [item.number(row[place]) for row in rows] for place, item in enumerate(self.inputs)
            ]
            return np.asarray(columns, dtype=np.float64).T
        parts = [
            _columns(item, [row[place] for row in rows]) for place, item in enumerate(self.inputs)
        ]
        return np.hstack(parts)


def _estimator(algorithm: str) -> Any:
    if algorithm == "logistic":
        return LogisticRegression(max_iter=1_000)
    return HistGradientBoostingClassifier(
        max_iter=_TREES, max_leaf_nodes=MOST_LEAVES, early_stopping=False, random_state=_SEED
    )


def _columns(item: Input, column: Sequence[Value]) -> Numbers:
    """An input as logistic regression reads it; what is not known is an average lead's."""
    if not item.levels:
        numbers = np.array([as_number(value) for value in column], dtype=np.float64)
        filled = np.where(np.isnan(numbers), item.mean, numbers)
        return ((filled - item.mean) / item.scale).reshape(-1, 1)
    places = {level: place for place, level in enumerate(item.levels)}
    table = np.vstack([np.eye(len(places)), np.asarray(item.frequencies)])
    texts = [level_text(value) for value in column]
    near = {text: item.level(value) for text, value in zip(texts, column, strict=True)}
    chosen = [places.get(near[text] or "", len(places)) for text in texts]
    picked: Numbers = table[np.asarray(chosen, dtype=np.intp)]
    return picked


def _tree(nodes: Any) -> Tree:
    return Tree(
        nodes=tuple(
            Node(count=int(node["count"]), value=float(node["value"]))
            if node["is_leaf"]
            else Node(
                count=int(node["count"]),
                feature=int(node["feature_idx"]),
                threshold=min(float(node["num_threshold"]), sys.float_info.max),
                missing_left=bool(node["missing_go_to_left"]),
                left=int(node["left"]),
                right=int(node["right"]),
            )
            for node in nodes
        )
    )


def _features(inputs: Sequence[Input], row: Sequence[Value]) -> dict[str, Value]:
    return {item.name: value for item, value in zip(inputs, row, strict=True)}


def _importance(made: LearnedScorer, features: Sequence[dict[str, Value]]) -> tuple[float, ...]:
    """How much each input moves a lead's log-odds on average, as shares."""
    moved = np.abs(np.array([made.parts(each) for each in features])).mean(axis=0)
    whole = float(moved.sum())
    if not math.isfinite(whole) or whole == 0:
        return (1 / len(made.model.inputs),) * len(made.model.inputs)
    return tuple(float(share) for share in moved / whole)
