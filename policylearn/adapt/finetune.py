"""Adaptation by fine-tuning: a few differentiated steps of encoder and head on labelled examples.

The head starts from the ridge solution on the features of θ, which is differentiated like everything else. From a head
of zeros the few steps would mostly go into the head, the first gives the encoder no gradient at all, and that zero is
where AdamW's update has a slope of 1 / ε.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from policylearn.adapt.probe import centred_targets, ridge_coefficients
from policylearn.config import InnerConfig, OuterConfig
from policylearn.inner.steps import make_optimizer
from policylearn.inner.window import Window
from policylearn.models.model import Features

RIDGE, TEMPERATURE = 1.0, 2.0


class Classifier(nn.Module):
    """An encoder with a linear head: logits [B, C] of the classes.

    Args:
        encoder: an `InnerModel`, not copied.
        weight, bias: [C, d] and [C] where the head starts, copied.
    """

    def __init__(self, encoder: nn.Module, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())

    def forward(self, input_ids: Tensor, real: Tensor) -> Tensor:
        return self.encoder(input_ids, real) @ self.weight.T + self.bias


@dataclass(frozen=True)
class LabelledBatch:
    """Texts with their classes: input_ids and real [B, T], y [B]."""

    input_ids: Tensor
    real: Tensor
    y: Tensor


class LabelWeights:
    """The classification loss Σ_i x_i · CE_i(θ) / B; x are the weights of the B examples, all 1."""

    def inputs(self, batch: LabelledBatch, like: Tensor) -> Tensor:
        """Ones [B]."""
        return like.new_ones(len(batch.y))

    def __call__(self, model: Callable[..., Tensor], batch: LabelledBatch, x: Tensor) -> Tensor:
        """The loss, a scalar."""
        return (x * cross_entropy(model(batch.input_ids, batch.real), batch.y.to(x.device), reduction="none")).mean()

    def parts(self, batch: LabelledBatch, x: Tensor, rows: int) -> Iterator[tuple[LabelledBatch, Tensor, float]]:
        """Rows with their weights, and their share of the examples."""
        for first in range(0, len(x), rows):
            tensors = (tensor[first : first + rows] for tensor in (batch.input_ids, batch.real, batch.y))
            yield LabelledBatch(*tensors), x[first : first + rows], len(x[first : first + rows]) / len(x)


@dataclass(frozen=True)
class FineTuning:
    """The loss after steps of fine-tuning that start from θ.

    Attributes:
        window: the steps; their model is a `Classifier`, or θ itself.
        head: weight and bias the classifier starts with, differentiable in the encoder; None: θ itself is tuned.
        optimizer: a fresh one for what is tuned.
        query: the loss, as a function of what was tuned, after the last step.
    """

    window: Window
    head: Callable[[Features], tuple[Tensor, Tensor]] | None
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    query: Callable[[Features], Tensor]

    @classmethod
    def of(
        cls,
        config: OuterConfig,
        batches: Sequence[Any],
        loss: Any,
        head: Callable[[Features], tuple[Tensor, Tensor]] | None,
        query: Callable[[Features], Tensor],
    ) -> "FineTuning":
        """Under the settings of [outer]: a step per batch at a constant learning rate, no weight decay."""
        optimizer = InnerConfig(optimizer=config.optimizer, learning_rate=config.learning_rate, weight_decay=0.0)
        window = Window(batches, [config.learning_rate] * len(batches), loss, config.clip)
        return cls(window, head, partial(make_optimizer, config=optimizer), query)

    def __call__(self, model: nn.Module) -> Tensor:
        """The loss (no gradient), by ordinary steps of a copy of the model."""
        tuned = copy.deepcopy(self.start(model))
        optimizer = self.optimizer(tuned)
        for k, batch in enumerate(self.window.batches):
            self.window.set_rate(optimizer, k)
            x = self.window.loss.inputs(batch, next(tuned.parameters()))
            optimizer.zero_grad()
            for loss in self.window.losses(tuned, k, x):
                loss.backward()
            if self.window.clip is not None:
                nn.utils.clip_grad_norm_(tuned.parameters(), self.window.clip)
            optimizer.step()
        with torch.no_grad():
            return self.query(tuned)

    def start(self, model: nn.Module) -> nn.Module:
        """What the steps begin with, θ not copied."""
        if self.head is None:
            return model
        with torch.no_grad():
            return Classifier(model, *self.head(model))


def rows_of_steps(config: OuterConfig, support: Sequence[int] | np.ndarray) -> list[list[int]]:
    """The support examples of each of `outer.steps` steps: always the next ones, from the first again after the last.

    >>> rows_of_steps(OuterConfig(steps=3, batch_size=2), [7, 8, 9])
    [[7, 8], [9, 7], [8, 9]]
    """
    return np.resize(support, (config.steps, min(config.batch_size, len(support)))).tolist()


def ridge_head(x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weight [C, d] and bias [C] of the ridge regression of classes y [S] on features x [S, d], as logits.

    Ridge strength and temperature are constants here: an optimum on the support examples themselves would overfit,
    and one on the query examples is not that of the loss after fine-tuning.

    >>> weight, bias = ridge_head(torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1]), 2)
    >>> (torch.tensor([[0.0], [5.0]]) @ weight.T + bias).argmax(1).tolist()
    [0, 1]
    """
    mean, scale = x.mean(0), x.var(0).clamp(min=1e-8).sqrt()
    targets = centred_targets(y, classes).to(x.dtype)
    weight = TEMPERATURE * ridge_coefficients((x - mean) / scale, targets, RIDGE).T / scale
    return weight, -weight @ mean
