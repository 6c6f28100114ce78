"""Logistic regression, as probes want it. Imported where one is fitted: scikit-learn takes more than a second to
import, and every worker would wait for it."""

import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier


class Logistic(LogisticRegression):
    """Logistic regression; where all rows it is fitted on are of one class, it says that one."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Logistic":
        self.only_ = y[:1] if (y == y[0]).all() else None
        return self if self.only_ is not None else super().fit(x, y)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return super().predict(x) if self.only_ is None else np.repeat(self.only_, len(x))


class LogisticPerLabel(OneVsRestClassifier):
    """A logistic regression for each label, whose predictions are logits [N, C]; a label that no text has gets a
    constant."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> "LogisticPerLabel":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Label .* is present in all training examples")
            return super().fit(x, y)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.reshape(self.decision_function(x), (len(x), -1))
