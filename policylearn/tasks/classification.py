"""Texts with one class each."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from policylearn.data.overview import describe_task
from policylearn.data.task import load_task
from policylearn.tasks.labelled import labelled_kind

if TYPE_CHECKING:
    from policylearn.tasks.logistic import Logistic

STEPS = 20
"""Of Newton's method for a temperature."""


def accuracy(y: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the classes that are right."""
    from sklearn.metrics import accuracy_score  # here, as below: see tasks/logistic.py

    return float(accuracy_score(y, predicted))


def macro_f1(y: np.ndarray, predicted: np.ndarray) -> float:
    """Mean of the F1 of all classes."""
    from sklearn.metrics import f1_score

    return float(f1_score(y, predicted, average="macro"))


def micro_f1(y: np.ndarray, predicted: np.ndarray) -> float:
    """F1 of all decisions together; where a text has one class, that is the accuracy."""
    from sklearn.metrics import f1_score

    return float(f1_score(y, predicted, average="micro"))


def mcc(y: np.ndarray, predicted: np.ndarray) -> float:
    """Matthews' correlation coefficient, of several classes Gorodkin's (2004); 0 if all are predicted to be one."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(y, predicted))


METRICS = {"accuracy": accuracy, "macro_f1": macro_f1, "micro_f1": micro_f1, "mcc": mcc}


class Classification:
    """The `Readout` of C classes: outputs are logits [N, C], targets y [N] class indices."""

    temperature = 2.0
    problem_type: str | None = None
    metrics: Mapping[str, Callable[..., float]] = METRICS

    def __init__(self, width: int) -> None:
        self.width = width

    def targets(self, y: Tensor) -> Tensor:
        """One-hot labels."""
        return one_hot(y, self.width).float()

    def outputs(self, scores: Tensor, factor: float | Tensor, centre: Tensor) -> Tensor:
        """Scores times a temperature; no class is preferred on the whole."""
        return factor * scores

    def fit_factor(self, scores: Tensor, y: Tensor, centre: Tensor) -> tuple[float, float]:
        """Smallest cross-entropy over the temperature, and where it is: Newton steps in log temperature."""
        log_t = torch.tensor(1.0, dtype=torch.float64)
        scores = scores.double()
        picked = scores.gather(1, y[:, None])[:, 0]
        for _ in range(STEPS):
            probability = self.outputs(scores, log_t.exp(), centre).softmax(1)
            mean = (probability * scores).sum(1)
            slope = log_t.exp() * (mean - picked).mean()
            variance = (probability * scores.square()).sum(1) - mean.square()
            curvature = log_t.exp().square() * variance.mean() + slope.abs() + 1e-9
            log_t = (log_t - (slope / curvature).clamp(-1.0, 1.0)).clamp(-4.0, 6.0)
        return cross_entropy(self.outputs(scores, log_t.exp(), centre), y).item(), log_t.exp().item()

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(outputs, y, reduction="none")

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Its mean."""
        return cross_entropy(outputs, y)

    def quality(self, outputs: Tensor, y: Tensor) -> float:
        """Accuracy."""
        return (outputs.argmax(1) == y).float().mean().item()

    def predictions(self, outputs: Tensor) -> Tensor:
        """The likeliest classes."""
        return outputs.argmax(1)

    def plain_head(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The same: logits are logits."""
        return weight, bias

    def estimator(self, regularisation: float) -> "Logistic":
        """Logistic regression."""
        from policylearn.tasks.logistic import Logistic

        return Logistic(C=regularisation, max_iter=2000)


KIND = labelled_kind(
    "classification",
    Classification.metrics,
    load_task,
    describe_task,
    lambda task, labels: torch.tensor([task.labels.index(label) for label in labels]),
    lambda labels, y: Classification(len(labels)),
)
