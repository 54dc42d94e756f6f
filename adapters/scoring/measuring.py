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

from adapters.scoring.choosing import Column, measured
from adapters.scoring.fitting import Columns, Numbers, fit, matrix
from domain.scoring.inputs import Input, as_number
from domain.scoring.models import Metrics
from domain.scoring.trees import MOST_LEAVES

_FOLDS = 5
_SEED = 0
_GROUPS = 10
_TOO_GOOD = 0.95
Places = NDArray[np.intp]
Target = NDArray[np.int8]


@dataclass(frozen=True)
class CrossValidation:
    """What models said of leads that they had not seen: five folds, shuffled."""

    won: Target
    log_odds: Numbers

    @property
    def calibration(self) -> tuple[float, float]:
        """Slope and offset that turn log-odds into probabilities (Platt, 1999)."""
        return _platt(self.log_odds, self.won)

    @cached_property
    def probabilities(self) -> Numbers:
        """Each lead's probability, calibrated on the other folds only."""
        found = np.zeros(len(self.won))
        for seen, unseen in _folds(self.won):
            slope, offset = _platt(self.log_odds[seen], self.won[seen])
            found[unseen] = 1 / (1 + np.exp(-(slope * self.log_odds[unseen] + offset)))
        return found

    @property
    def metrics(self) -> Metrics:
        """AUC, Brier score and calibration error."""
        found = self.probabilities
        return Metrics(
            auc=round(float(roc_auc_score(self.won, self.log_odds)), 4),
            brier=round(float(brier_score_loss(self.won, found)), 4),
            calibration_error=round(_calibration_error(found, self.won), 4),
            leads=len(self.won),
            won=int(self.won.sum()),
        )


def cross_validate(
    algorithm: str, items: Sequence[Input], columns: Columns, won: Sequence[bool]
) -> CrossValidation:
    """Judge each lead by a model that did not see it."""
    target = np.asarray(won, dtype=np.int8)
    log_odds = np.zeros(len(target))
    for seen, unseen in _folds(target):
        fitted = fit(algorithm, items, _taken(columns, seen), [won[place] for place in seen])
        log_odds[unseen] = fitted.log_odds(_taken(columns, unseen))
    return CrossValidation(target, log_odds)


def suspicious(items: Sequence[Input], columns: Columns, won: Sequence[bool]) -> list[str]:
    """The inputs of which one alone tells the outcome of leads that were not seen (an AUC above
    0.95, by a tree of eight leaves): they were probably written down after it."""
    target = np.asarray(won, dtype=np.int8)
    found = []
    for item, column in zip(items, columns, strict=True):
        chances = np.zeros(len(target))
        for seen, unseen in _folds(target):
            (known,) = _taken([column], seen)
            (read,) = measured([item], [known], [won[place] for place in seen])
            tree = DecisionTreeClassifier(max_leaf_nodes=MOST_LEAVES, random_state=_SEED)
            tree.fit(matrix("boosted", [read], [known]), target[seen])
            asked = matrix("boosted", [read], _taken([column], unseen))
            chances[unseen] = tree.predict_proba(asked)[:, 1]
        if roc_auc_score(target, chances) > _TOO_GOOD:
            found.append(item.name)
    return found


def _folds(target: Target) -> Iterator[tuple[Places, Places]]:
    """What is seen and what is not, the same each time."""
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=_SEED)
    yield from folds.split(np.zeros(len(target)), target)


def _taken(columns: Columns, places: Places) -> list[Column]:
    chosen = places.tolist()
    return [_values(column, chosen) for column in columns]


def _values(column: Column, places: Sequence[int]) -> Column:
    values = [column[place] for place in places]
    return array("d", map(as_number, values)) if isinstance(column, array) else values


def _platt(log_odds: Numbers, won: Target) -> tuple[float, float]:
    fitted = LogisticRegression(C=1e6).fit(log_odds.reshape(-1, 1), won)
    return float(fitted.coef_[0][0]), float(fitted.intercept_[0])


def _calibration_error(found: Numbers, won: Target) -> float:
    groups = np.array_split(np.argsort(found, kind="stable"), _GROUPS)
    weighted = [len(g) * abs(found[g].mean() - won[g].mean()) for g in groups if len(g)]
    return float(sum(weighted) / len(found))
