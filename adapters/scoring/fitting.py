"""Fitting: logistic regression and boosted trees, taken out of scikit-learn as plain data."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from adapters.scoring.choosing import Column, width, with_statistics
from domain.scoring.errors import TrainingImpossible
from domain.scoring.inputs import Input, as_number, level_text
from domain.scoring.learned import LearnedModel, LearnedScorer
from domain.scoring.subjects import Value
from domain.scoring.trees import MAX_LEAVES, Forest, Node, Tree

Columns = Sequence[Column]
Numbers = NDArray[np.float64]
_TREES = 200
_SEED = 0
_SAMPLE_LEADS = 200
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Fitted:
    """A model that was fitted, still able to predict many leads at once."""

    algorithm: str
    inputs: Sequence[Input]
    model: Any

    def log_odds(self, columns: Columns) -> Numbers:
        """Return the log-odds of leads, before calibration."""
        with threadpool_limits(limits=1):
            answers: Numbers = self.model.decision_function(self._matrix(columns))
        return answers

    def as_data(self, columns: Columns) -> LearnedModel:
        """Return the model as data. Raises TrainingImpossible if the data do not predict as
        scikit-learn does."""
        learned = self._logistic() if self.algorithm == "logistic" else self._boosted()
        # The registry stores JSON: that is what must predict as the fitted model does.
        learned = LearnedModel.model_validate_json(learned.model_dump_json(exclude_defaults=True))
        sample = _spaced(columns)
        names = [item.name for item in self.inputs]
        features = [dict(zip(names, row, strict=True)) for row in zip(*sample, strict=True)]
        scorer = LearnedScorer(learned)
        log_odds = np.array([scorer.log_odds(each) for each in features])
        if not np.allclose(log_odds, self.log_odds(sample), atol=_TOLERANCE):
            raise TrainingImpossible(
                "The model's data do not predict as the fitted model does. Please report this."
            )
        return learned.model_copy(update={"importance": _importance(scorer, features)})

    def _logistic(self) -> LearnedModel:
        weights = iter(self.model.coef_[0].tolist())
        given = tuple(
            tuple(next(weights) for _ in range(max(1, len(item.levels)))) for item in self.inputs
        )
        average = sum(
            weight * share
            for item, own in zip(self.inputs, given, strict=True)
            for weight, share in zip(own, item.frequencies, strict=False)
        )
        return LearnedModel(
            algorithm="logistic",
            inputs=tuple(self.inputs),
            weights=given,
            base=float(self.model.intercept_[0]) + average,
            importance=(0.0,) * len(self.inputs),
        )

    def _boosted(self) -> LearnedModel:
        # These are private to scikit-learn; `as_data` proves that they are read rightly.
        trees = tuple(_tree(one[0].nodes) for one in self.model._predictors)
        start = float(np.ravel(self.model._baseline_prediction)[0])
        return LearnedModel(
            algorithm="boosted",
            inputs=tuple(self.inputs),
            trees=trees,
            base=start + Forest(trees, len(self.inputs)).base,
            importance=(0.0,) * len(self.inputs),
        )

    def _matrix(self, columns: Columns) -> Numbers:
        return matrix(self.algorithm, self.inputs, columns)


def fit(algorithm: str, items: Sequence[Input], columns: Columns, won: Sequence[bool]) -> Fitted:
    """Fit a model to leads: a column of values for each input."""
    inputs = with_statistics(items, columns, won)
    target = np.asarray(won, dtype=np.int8)
    # One core: the others are for those who wait.
    with threadpool_limits(limits=1):
        model = _estimator(algorithm).fit(matrix(algorithm, inputs, columns), target)
    return Fitted(algorithm, inputs, model)


def matrix(algorithm: str, inputs: Sequence[Input], columns: Columns) -> Numbers:
    """Return the leads as an estimator reads them: a row for each."""
    widths = [1 if algorithm == "boosted" else width(item) for item in inputs]
    rows, start = np.empty((len(columns[0]), sum(widths))), 0
    for item, column, size in zip(inputs, columns, widths, strict=True):
        read = _ranked if algorithm == "boosted" else _weighed
        rows[:, start : start + size] = read(item, column)
        start += size
    return rows


def _estimator(algorithm: str) -> Any:
    if algorithm == "logistic":
        return LogisticRegression(max_iter=1_000)
    return HistGradientBoostingClassifier(
        max_iter=_TREES, max_leaf_nodes=MAX_LEAVES, early_stopping=False, random_state=_SEED
    )


def _ranked(item: Input, column: Column) -> Numbers:
    """Return an input as trees read it."""
    numbers = (item.number(value) for value in column)
    return np.fromiter(numbers, dtype=np.float64, count=len(column)).reshape(-1, 1)


def _weighed(item: Input, column: Column) -> Numbers:
    """Return an input as logistic regression reads it; what is not known is an average lead's."""
    if not item.levels:
        numbers = np.fromiter(map(as_number, column), dtype=np.float64, count=len(column))
        filled = np.where(np.isnan(numbers), item.mean, numbers)
        return ((filled - item.mean) / item.scale).reshape(-1, 1)
    rows = {level: row for row, level in enumerate(item.levels)}
    table = np.vstack([np.eye(len(rows)), np.asarray(item.frequencies)])
    texts = [level_text(value) for value in column]
    near = {text: item.level(value) for text, value in zip(texts, column, strict=True)}
    chosen = [rows.get(near[text] or "", len(rows)) for text in texts]
    numbers_of_levels: Numbers = table[np.asarray(chosen, dtype=np.intp)]
    return numbers_of_levels


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


def _spaced(columns: Columns) -> Columns:
    """Choose leads from all of the window, evenly spaced: the latest may be unlike the others."""
    leads = len(columns[0])
    rows = [number * leads // _SAMPLE_LEADS for number in range(_SAMPLE_LEADS)]
    return [[column[row] for row in dict.fromkeys(rows)] for column in columns]


def _importance(scorer: LearnedScorer, features: Sequence[dict[str, Value]]) -> tuple[float, ...]:
    """Return how much each input moves a lead's log-odds on average, as shares."""
    moved = np.abs(np.array([scorer.parts(each) for each in features])).mean(axis=0)
    whole = float(moved.sum())
    if not math.isfinite(whole) or whole == 0:
        return (1 / len(scorer.model.inputs),) * len(scorer.model.inputs)
    return tuple(float(share) for share in moved / whole)
