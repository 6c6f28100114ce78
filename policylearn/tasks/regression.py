"""Texts with a number each."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from policylearn.data.overview import describe_numbers
from policylearn.data.task import load_numbers
from policylearn.tasks.labelled import labelled_kind

if TYPE_CHECKING:
    from sklearn.linear_model import Ridge


def pearson(y: np.ndarray, predicted: np.ndarray) -> float:
    """Pearson's correlation; 0 where all numbers are one."""
    from scipy.stats import pearsonr  # here, as below: see tasks/logistic.py

    return float(np.nan_to_num(pearsonr(y, predicted).statistic))


def spearman(y: np.ndarray, predicted: np.ndarray) -> float:
    """Spearman's correlation of ranks; 0 where all numbers are one."""
    from scipy.stats import spearmanr

    return float(np.nan_to_num(spearmanr(y, predicted).statistic))


class Regression:
    """The `Readout` of numbers: one output [N, 1], in standard deviations of the training rows from their mean."""

    width, temperature = 1, 1.0
    problem_type: str | None = "regression"
    metrics: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "pearson": pearson,
        "spearman": spearman,
        "negative_rmse": lambda y, predicted: -float(np.sqrt(np.mean((y - predicted) ** 2))),
    }

    def __init__(self, train: Tensor) -> None:
        usual = train.std()
        self.mean, self.scale = float(train.mean()), float(usual if usual > 1e-8 else train.double().std())

    def targets(self, y: Tensor) -> Tensor:
        return (y[:, None].float() - self.mean) / self.scale

    def outputs(self, scores: Tensor, factor: float, centre: Tensor) -> Tensor:
        return scores + centre

    def fit_factor(self, scores: Tensor, y: Tensor, centre: Tensor) -> tuple[float, float]:
        return self.loss(self.outputs(scores, 1.0, centre), y).item(), 1.0

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Squared errors."""
        return (outputs - self.targets(y).to(outputs)).square()[:, 0]

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self.losses(outputs, y).mean()

    def quality(self, outputs: Tensor, y: Tensor) -> float:
        """The share of the variance that is explained; negative where the mean would do better."""
        return 1 - (self.loss(outputs, y) / self.targets(y).var(unbiased=False).clamp(min=1e-12)).item()

    def predictions(self, outputs: Tensor) -> Tensor:
        return outputs[:, 0] * self.scale + self.mean

    def plain_head(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return weight * self.scale, bias * self.scale + self.mean

    def estimator(self, regularisation: float) -> "Ridge":
        from sklearn.linear_model import Ridge

        return Ridge(alpha=1 / regularisation)


KIND = labelled_kind(
    "regression",
    Regression.metrics,
    load_numbers,
    describe_numbers,
    lambda _, y: Tensor(y),
    lambda _, y: Regression(y),
)
