"""The inner problem: the weighted MLM loss of a masked batch, and its optimiser."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from policylearn.config import InnerConfig
from policylearn.inner.model import Watch
from policylearn.masking import MaskedBatch


def mlm_loss(
    model: Callable[..., Tensor], batch: MaskedBatch, weights: Tensor | None = None, watch: Watch | None = None
) -> Tensor:
    """ℓ(θ, w) = Σ_i w_i · CE_i(θ) / M over the M masked positions (a scalar; 0 where nothing is masked).

    Args:
        model: an `InnerModel`, possibly functional.
        batch: what was masked.
        weights: [M] in row order; None for ones, the ordinary MLM loss.
        watch: is shown the masked tokens and the model's guesses.
    """
    losses = model(batch.input_ids, batch.real, labels=batch.labels, watch=watch)
    return (losses if weights is None else weights * losses).sum() / max(1, losses.numel())


def make_optimizer(model: nn.Module, config: InnerConfig) -> torch.optim.Optimizer:
    """AdamW or SGD as everyone sets them: no weight decay on norms and biases."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=config.eps)


def learning_rate(config: InnerConfig, step: int, steps: int) -> float:
    """Linear warm-up over the first `config.warmup` of all steps, then the schedule over those that are left.

    >>> config = InnerConfig(learning_rate=1.0, warmup=0.5)
    >>> [round(learning_rate(config, t, 4), 2) for t in range(4)]
    [0.5, 1.0, 1.0, 1.0]
    >>> linear = InnerConfig(learning_rate=1.0, warmup=0.2, schedule="linear")
    >>> [round(learning_rate(linear, t, 5), 2) for t in range(5)]
    [1.0, 1.0, 0.75, 0.5, 0.25]
    """
    warm = config.warmup * steps
    if step + 1 <= warm:
        return config.learning_rate * ((step + 1) / warm)
    done = max(0.0, step - warm) / (steps - warm)
    return config.learning_rate * SCHEDULES[config.schedule](done)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}
"""Share of the steps after warm-up that are done → factor of the learning rate."""


def plain_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: MaskedBatch,
    rate: float,
    watch: Watch | None = None,
    clip: float | None = None,
) -> float:
    """One ordinary optimiser step on the MLM loss, in place; returns the loss. `watch` is shown what was guessed.

    The gradient is clipped to the norm `clip`, if there is one.

    Raises:
        FloatingPointError: the loss is NaN or infinite.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = mlm_loss(model, batch, watch=watch)
    if not torch.isfinite(loss):
        raise FloatingPointError(f"the inner MLM loss became {loss.item()}: lower inner.learning_rate")
    optimizer.zero_grad()
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss.item()
