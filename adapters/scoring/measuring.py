"""Measuring: how good a model is on leads that it has not seen, and how to calibrate it."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

from adapters.scoring.choosing import Column, with_statistics
from adapters.scoring.fitting import Columns, Numbers, fit, matrix
from domain.scoring.inputs import Input, as_number
from domain.scoring.models import Metrics
from domain.scoring.trees import MAX_LEAVES

_FOLDS = 5
_SEED = 0
_GROUPS = 10
_TOO_GOOD = 0.95
Rows = NDArray[np.intp]
Target = NDArray[np.int8]


@dataclass(frozen=True)
class CrossValidation:
    """The predictions of models for leads that they were not fitted to: five folds, shuffled."""

    won: Target
    log_odds: Numbers

    @property
    def calibration(self) -> tuple[float, float]:
        """Return slope and offset that turn log-odds into probabilities (Platt, 1999)."""
        return _platt(self.log_odds, self.won)

    @cached_property
    def probabilities(self) -> Numbers:
        """Return each lead's probability, calibrated on the other folds only."""
        probabilities = np.zeros(len(self.won))
        for train, test in _folds(self.won):
            slope, offset = _platt(self.log_odds[train], self.won[train])
            probabilities[test] = 1 / (1 + np.exp(-(slope * self.log_odds[test] + offset)))
        return probabilities

    @property
    def metrics(self) -> Metrics:
        """Calculate AUC, Brier score and calibration error."""
        probabilities = self.probabilities
        return Metrics(
            auc=round(float(roc_auc_score(self.won, self.log_odds)), 4),
            brier=round(float(brier_score_loss(self.won, probabilities)), 4),
            calibration_error=round(_calibration_error(probabilities, self.won), 4),
            leads=len(self.won),
            won=int(self.won.sum()),
        )


def cross_validate(
    algorithm: str, items: Sequence[Input], columns: Columns, won: Sequence[bool]
) -> CrossValidation:
    """Predict each lead by a model that was fitted to others."""
    target = np.asarray(won, dtype=np.int8)
    log_odds = np.zeros(len(target))
    for train, test in _folds(target):
        fitted = fit(algorithm, items, _selected(columns, train), [won[row] for row in train])
        log_odds[test] = fitted.log_odds(_selected(columns, test))
    return CrossValidation(target, log_odds)


def suspicious(items: Sequence[Input], columns: Columns, won: Sequence[bool]) -> list[str]:
    """Return the inputs each of which alone predicts the outcome of other leads (an AUC above 0.95,
    by a tree of eight leaves): they were probably written after it."""
    target = np.asarray(won, dtype=np.int8)
    names = []
    for item, column in zip(items, columns, strict=True):
        probabilities = np.zeros(len(target))
        for train, test in _folds(target):
            probabilities[test] = _predicted_by_one(item, column, target, train, test)
        if roc_auc_score(target, probabilities) > _TOO_GOOD:
            names.append(item.name)
    return names


def _predicted_by_one(
    item: Input, column: Column, target: Target, train: Rows, test: Rows
) -> Numbers:
    (known,) = _selected([column], train)
    inputs = with_statistics([item], [known], [bool(won) for won in target[train]])
    tree = DecisionTreeClassifier(max_leaf_nodes=MAX_LEAVES, random_state=_SEED)
    tree.fit(matrix("boosted", inputs, [known]), target[train])
    rows = matrix("boosted", inputs, _selected([column], test))
    probabilities: Numbers = tree.predict_proba(rows)[:, 1]
    return probabilities


def _folds(target: Target) -> Iterator[tuple[Rows, Rows]]:
    """Yield the rows to fit to and the rows to predict, the same each time."""
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=_SEED)
    yield from folds.split(np.zeros(len(target)), target)


def _selected(columns: Columns, rows: Rows) -> list[Column]:
    chosen = rows.tolist()
    return [_values(column, chosen) for column in columns]


def _values(column: Column, rows: Sequence[int]) -> Column:
    values = [column[row] for row in rows]
    return array("d", map(as_number, values)) if isinstance(column, array) else values


def _platt(log_odds: Numbers, won: Target) -> tuple[float, float]:
    fitted = LogisticRegression(C=1e6).fit(log_odds.reshape(-1, 1), won)
    return float(fitted.coef_[0][0]), float(fitted.intercept_[0])


def _calibration_error(probabilities: Numbers, won: Target) -> float:
    groups = np.array_split(np.argsort(probabilities, kind="stable"), _GROUPS)
    weighted = [len(g) * abs(probabilities[g].mean() - won[g].mean()) for g in groups if len(g)]
    return float(sum(weighted) / len(probabilities))
