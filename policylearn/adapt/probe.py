"""Adaptation by a ridge probe: how good are the features of θ for the task, in closed form.

Least squares onto one-hot labels from standardised support features; its predictions, times a temperature,
are logits for the query examples. Ridge strength and temperature are set to their optimum on the query loss.
At an optimum the loss is flat in both, so the gradient in θ may ignore how they were chosen (envelope
theorem), and neither adds noise to it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

RIDGES = tuple(10.0**k for k in (-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2))


@dataclass(frozen=True)
class ProbeFit:
    """What `outer_loss` found: the loss (differentiable scalar) and the numbers beside it."""

    loss: Tensor
    accuracy: float
    ridge: float
    temperature: float


def outer_loss(support: Tensor, support_y: Tensor, query: Tensor, query_y: Tensor, classes: int) -> ProbeFit:
    """Cross-entropy of query examples under a ridge probe fitted on support examples.

    Args:
        support, query: features [S, d] and [Q, d].
        support_y, query_y: class indices [S] and [Q].
        classes: number of classes C.

    Returns:
        the loss, differentiable in both feature sets, with query accuracy and the chosen ridge and temperature.

    Raises:
        FloatingPointError: the loss is NaN or infinite, because a feature is.
    """
    support, query = standardise(support, query)
    targets = centred_targets(support_y, classes).to(support.dtype)
    with torch.no_grad():
        trials = [_tempered(ridge_scores(support, targets, query, ridge), query_y) for ridge in RIDGES]
        best = min(range(len(RIDGES)), key=lambda k: trials[k][0])
    temperature = trials[best][1]
    scores = ridge_scores(support, targets, query, RIDGES[best])
    accuracy = (scores.argmax(1) == query_y).float().mean().item()
    loss = cross_entropy(temperature * scores, query_y)
    if not torch.isfinite(loss):
        raise FloatingPointError(f"the outer loss became {loss.item()}: lower inner.learning_rate")
    return ProbeFit(loss, accuracy, RIDGES[best], temperature)


def standardise(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """Both feature sets by the mean and standard deviation of the support set."""
    mean, scale = support.mean(0), support.var(0).clamp(min=1e-8).sqrt()
    return (support - mean) / scale, (query - mean) / scale


def centred_targets(y: Tensor, classes: int) -> Tensor:
    """One-hot labels less the class shares, [S, C]."""
    targets = one_hot(y, classes).float()
    return targets - targets.mean(0)


def ridge_scores(support: Tensor, targets: Tensor, query: Tensor, ridge: float) -> Tensor:
    """Query scores [Q, C] of the ridge regression of targets [S, C] on support [S, d], penalty ridge · S."""
    return query @ ridge_coefficients(support, targets, ridge)


def ridge_coefficients(support: Tensor, targets: Tensor, ridge: float) -> Tensor:
    """Coefficients [d, C] of that regression, solved in whichever of d × d and S × S is smaller."""
    n, d = support.shape
    if d <= n:
        gram = support.T @ support + ridge * n * torch.eye(d, device=support.device)
        return torch.linalg.solve(gram, support.T @ targets)
    gram = support @ support.T + ridge * n * torch.eye(n, device=support.device)
    return support.T @ torch.linalg.solve(gram, targets)


def _tempered(scores: Tensor, y: Tensor, iterations: int = 20) -> tuple[float, float]:
    """Smallest cross-entropy over the temperature, and where it is: Newton steps in log temperature."""
    log_t = torch.tensor(1.0, dtype=torch.float64)
    scores = scores.double()
    picked = scores.gather(1, y[:, None])[:, 0]
    for _ in range(iterations):
        probability = (log_t.exp() * scores).softmax(1)
        mean = (probability * scores).sum(1)
        slope = log_t.exp() * (mean - picked).mean()
        variance = (probability * scores.square()).sum(1) - mean.square()
        curvature = log_t.exp().square() * variance.mean() + slope.abs() + 1e-9
        log_t = (log_t - (slope / curvature).clamp(-1.0, 1.0)).clamp(-4.0, 6.0)
    return cross_entropy(log_t.exp() * scores, y).item(), log_t.exp().item()
