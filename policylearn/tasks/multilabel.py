"""Texts with any number of labels each, or none."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from policylearn.data.overview import describe_label_sets
from policylearn.data.task import Task, load_label_sets
from policylearn.tasks.classification import STEPS
from policylearn.tasks.labelled import labelled_kind

if TYPE_CHECKING:
    from policylearn.tasks.logistic import LogisticPerLabel

RAREST = 1e-3
"""Share of texts below which a label is taken to be no rarer: its logit stays within ±7."""


def f1(average: str) -> Callable[[np.ndarray, np.ndarray], float]:
    """F1 of labels whose logit is positive: of all decisions together ("micro"), or the labels' mean ("macro")."""

    def measure(y: np.ndarray, logits: np.ndarray) -> float:
        from sklearn.metrics import f1_score  # here, as below: see tasks/logistic.py

        return float(f1_score(y > 0, logits > 0, average=average, zero_division=0))

    return measure


def average_precision(y: np.ndarray, logits: np.ndarray) -> float:
    """Mean over the labels that occur in y of the area under precision by recall."""
    from sklearn.metrics import average_precision_score

    there = (y > 0).any(0)
    return float(average_precision_score(y[:, there] > 0, logits[:, there], average="macro"))


class MultiLabel:
    """The `Readout` of C labels: outputs are logits [N, C], of each label by itself; targets y [N, C] are 0 or 1.

    Logits are those of the labels' shares in train, moved by `factor` times what a ridge regression predicts beyond.
    """

    temperature = 4.0  # the slope of a logit in its probability, at ½
    problem_type: str | None = "multi_label_classification"
    metrics: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "micro_f1": f1("micro"),
        "macro_f1": f1("macro"),
        "average_precision": average_precision,
    }

    def __init__(self, width: int) -> None:
        self.width = width

    def targets(self, y: Tensor) -> Tensor:
        return y.float()

    def outputs(self, scores: Tensor, factor: float, centre: Tensor) -> Tensor:
        return factor * scores + centre.to(scores).logit(RAREST)

    def fit_factor(self, scores: Tensor, y: Tensor, centre: Tensor) -> tuple[float, float]:
        """Smallest loss over the factor, and where it is: Newton steps in its logarithm, as of a temperature."""
        scores, y, log_t = scores.double(), y.double(), torch.tensor(1.0, dtype=torch.float64)
        for _ in range(STEPS):
            p = self.outputs(scores, log_t.exp().item(), centre).sigmoid()
            slope = log_t.exp() * ((p - y) * scores).mean()
            curvature = log_t.exp().square() * (p * (1 - p) * scores.square()).mean() + slope.abs() + 1e-9
            log_t = (log_t - (slope / curvature).clamp(-1.0, 1.0)).clamp(-4.0, 6.0)
        factor = log_t.exp().item()
        return self.loss(self.outputs(scores, factor, centre), y).item(), factor

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Cross-entropies of yes and no, mean over the labels."""
        return binary_cross_entropy_with_logits(outputs, y.to(outputs), reduction="none").mean(1)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self.losses(outputs, y).mean()

    def quality(self, outputs: Tensor, y: Tensor) -> float:
        """The share of the entropy of the labels that is explained; negative where their shares would do better."""
        shares = y.double().mean(0)
        entropy = (torch.special.entr(shares) + torch.special.entr(1 - shares)).mean().clamp(min=1e-12)
        return 1 - self.loss(outputs.double(), y).item() / entropy.item()

    def predictions(self, outputs: Tensor) -> Tensor:
        """Logits: a label is given where they are positive."""
        return outputs

    def plain_head(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return weight, bias

    def estimator(self, regularisation: float) -> "LogisticPerLabel":
        from sklearn.linear_model import LogisticRegression

        from policylearn.tasks.logistic import LogisticPerLabel

        return LogisticPerLabel(LogisticRegression(C=regularisation, max_iter=2000))


def multi_hot(task: Task, labels: list[list[str]]) -> Tensor:
    """[N, C], 1 where a text has a label."""
    at = {label: i for i, label in enumerate(task.labels)}
    y = torch.zeros(len(labels), len(at))
    for row, found in enumerate(labels):
        y[row, [at[label] for label in found]] = 1.0
    return y


KIND = labelled_kind(
    "multilabel",
    MultiLabel.metrics,
    load_label_sets,
    describe_label_sets,
    multi_hot,
    lambda labels, y: MultiLabel(len(labels)),
)
