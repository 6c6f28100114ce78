"""A ridge probe: how good are features for a task, in closed form.

Least squares onto targets (one-hot labels, or numbers) from standardised support features; its predictions, those of
classes times a temperature, are outputs for the query examples. Ridge strength and temperature are set to their optimum
on the query loss.
At an optimum the loss is flat in both, so the gradient in θ may ignore how they were chosen (envelope
theorem), and neither adds noise to it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from policylearn.protocols import Readout

RIDGES = tuple(10.0**k for k in (-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2))
HEAD_RIDGE = 1.0


@dataclass(frozen=True)
class ProbeFit:
    """What `probe_loss` found: the loss (differentiable scalar) and the numbers beside it."""

    loss: Tensor
    quality: float
    ridge: float
    factor: float


def probe_loss(support: Tensor, support_y: Tensor, query: Tensor, query_y: Tensor, readout: Readout) -> ProbeFit:
    """The loss of query examples under a ridge probe fitted on support examples.

    Args:
        support, query: features [S, d] and [Q, d].
        support_y, query_y: targets [S] and [Q].
        readout: what targets are.

    Returns:
        the loss, differentiable in both feature sets, with query quality and the chosen ridge and factor.

    Raises:
        FloatingPointError: the loss is NaN or infinite, because a feature is.
    """
    support, query = standardise(support, query)
    targets, centre = (x.to(support.dtype) for x in centred_targets(readout.targets(support_y)))
    coefficients = ridge_coefficients(support, targets)
    with torch.no_grad():
        trials = [readout.fit_factor(query @ coefficients(r), query_y, centre) for r in RIDGES]
        best = min(range(len(RIDGES)), key=lambda k: trials[k][0])
    factor = trials[best][1]
    outputs = readout.outputs(query @ coefficients(RIDGES[best]), factor, centre)
    loss = readout.loss(outputs, query_y)
    if not torch.isfinite(loss):
        raise FloatingPointError(f"the outer loss became {loss.item()}: lower inner.learning_rate")
    return ProbeFit(loss, readout.quality(outputs, query_y), RIDGES[best], factor)


def standardise(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """Both feature sets by the mean and standard deviation of the support set."""
    mean, scale = support.mean(0), support.var(0).clamp(min=1e-8).sqrt()
    return (support - mean) / scale, (query - mean) / scale


def centred_targets(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Targets [S, C] less their mean, and the mean [C]."""
    mean = targets.mean(0)
    return targets - mean, mean


def ridge_coefficients(support: Tensor, targets: Tensor) -> Callable[[float], Tensor]:
    """Coefficients [d, C] of the ridge regressions of targets [S, C] on support [S, d], penalty `ridge` · S, as a
    function of `ridge`: products are formed once for all, in whichever of d × d and S × S is smaller.

    >>> ridge_coefficients(torch.tensor([[1.0], [-1.0]]), torch.tensor([[3.0], [-3.0]]))(0.5)
    tensor([[2.]])
    """
    n, d = support.shape
    small = d <= n
    gram = support.T @ support if small else support @ support.T
    right = support.T @ targets if small else targets

    def coefficients(ridge: float) -> Tensor:
        solved = torch.linalg.solve(gram + ridge * n * torch.eye(len(gram), device=gram.device), right)
        return solved if small else support.T @ solved

    return coefficients


def ridge_head(x: Tensor, y: Tensor, readout: Readout) -> tuple[Tensor, Tensor]:
    """Weight [C, d] and bias [C] of the ridge regression of targets y [S] on features x [S, d], as outputs.

    Ridge strength and temperature are constants here: an optimum on the support examples themselves would overfit,
    and one on the query examples is not that of the loss after fine-tuning.

    >>> from policylearn.tasks.classification import Classification
    >>> y = torch.tensor([0, 0, 1, 1])
    >>> weight, bias = ridge_head(torch.tensor([[0.0], [1.0], [4.0], [5.0]]), y, Classification(2))
    >>> (torch.tensor([[0.0], [5.0]]) @ weight.T + bias).argmax(1).tolist()
    [0, 1]
    """
    mean, scale = x.mean(0), x.var(0).clamp(min=1e-8).sqrt()
    targets, centre = (part.to(x.dtype) for part in centred_targets(readout.targets(y)))
    weight = readout.temperature * ridge_coefficients((x - mean) / scale, targets)(HEAD_RIDGE).T / scale
    return weight, readout.outputs(-weight @ mean, 1.0, centre)
