"""Measuring: how good a model is on leads that it has not seen, and how to calibrate it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from adapters.learning.fitting import Fitted, Numbers, Rows
from domain.scoring.inputs import Input
from domain.scoring_models import Metrics

_FOLDS = 5
_SEED = 0
_GROUPS = 10


class Measured:
    """A five-fold, shuffled cross-validation: each lead judged by a model that did not see it."""

    def __init__(
        self, algorithm: str, items: Sequence[Input], rows: Rows, won: Sequence[bool]
    ) -> None:
        self._won = np.asarray(won, dtype=np.int8)
        folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=_SEED)
        self._folds = [test for _, test in folds.split(np.zeros(len(won)), self._won)]
        self._log_odds = np.zeros(len(won))
        for test in self._folds:
            seen = np.setdiff1d(np.arange(len(won)), test)
            fitted = Fitted(algorithm, items, [rows[i] for i in seen], [won[i] for i in seen])
            self._log_odds[test] = fitted.log_odds([rows[i] for i in test])

    def calibration(self) -> tuple[float, float]:
        """Slope and offset that turn log-odds into probabilities (Platt, 1999)."""
        return _platt(self._log_odds, self._won)

    def probabilities(self) -> Numbers:
        """Each lead's probability, calibrated on the other folds only."""
        found = np.zeros(len(self._won))
        for test in self._folds:
            others = np.setdiff1d(np.arange(len(self._won)), test)
            slope, offset = _platt(self._log_odds[others], self._won[others])
            found[test] = 1 / (1 + np.exp(-(slope * self._log_odds[test] + offset)))
        return found

    def metrics(self) -> Metrics:
        """AUC, Brier score and calibration error."""
        found = self.probabilities()
        return Metrics(
            auc=round(float(roc_auc_score(self._won, self._log_odds)), 4),
            brier=round(float(brier_score_loss(self._won, found)), 4),
            calibration_error=round(_calibration_error(found, self._won), 4),
            leads=len(self._won),
            won=int(self._won.sum()),
        )


def _platt(log_odds: Numbers, won: NDArray[np.int8]) -> tuple[float, float]:
    fitted = LogisticRegression(C=1e6).fit(log_odds.reshape(-1, 1), won)
    return float(fitted.coef_[0][0]), float(fitted.intercept_[0])


def _calibration_error(found: Numbers, won: NDArray[np.int8]) -> float:
    groups = np.array_split(np.argsort(found, kind="stable"), _GROUPS)
    weighted = [len(g) * abs(found[g].mean() - won[g].mean()) for g in groups if len(g)]
    return float(sum(weighted) / len(found))
