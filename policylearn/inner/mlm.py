"""The inner problem: the weighted MLM loss of a masked batch, and its optimiser."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from policylearn.config import InnerConfig
from policylearn.masking import MaskedBatch
from policylearn.models.model import Watch


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
    losses = model(batch.shown, batch.real, labels=batch.labels, watch=watch)
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


def micro_batches(batch: MaskedBatch, rows: int | None) -> Iterator[tuple[MaskedBatch, float]]:
    """A batch cut into parts of so many rows (None: not at all), each with its share of the masked tokens.

    >>> ids = torch.tensor([[5, 6], [7, 8]])
    >>> batch = MaskedBatch(ids, ids, ids > 0, torch.tensor([[5, -100], [7, 8]]))
    >>> [(part.labels.tolist(), round(share, 2)) for part, share in micro_batches(batch, rows=1)]
    [([[5, -100]], 0.33), ([[7, 8]], 0.67)]
    """
    if rows is None:
        yield batch, 1.0
        return
    masked = max(1, int(batch.mask.sum()))
    for low in range(0, len(batch.labels), rows):
        part = batch.rows(slice(low, low + rows))
        yield part, int(part.mask.sum()) / masked


def plain_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: MaskedBatch,
    rate: float,
    watch: Watch | None = None,
    clip: float | None = None,
    rows: int | None = None,
) -> float:
    """One ordinary optimiser step on the MLM loss, in place; returns the loss.

    Args:
        model, optimizer: what is moved.
        batch: masked texts.
        rate: learning rate.
        watch: is shown the masked tokens and the model's guesses.
        clip: largest norm of the gradient; None: any.
        rows: of the batch at once, gradients being accumulated; None: all.

    Raises:
        FloatingPointError: the loss is NaN or infinite.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    total = 0.0
    for part, share in micro_batches(batch, rows):
        loss = share * mlm_loss(model, part, watch=watch)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the inner MLM loss became {loss.item()}: lower inner.learning_rate")
        loss.backward()
        total += loss.item()
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return total
