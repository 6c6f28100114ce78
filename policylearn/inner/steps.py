"""Ordinary steps: optimiser, learning rate, and one step on an objective."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from policylearn.config import InnerConfig
from policylearn.inner.window import Loss, Window
from policylearn.models.model import Observe


def make_optimizer(model: nn.Module, config: InnerConfig) -> torch.optim.Optimizer:
    """AdamW or SGD as everyone sets them: no weight decay on norms and biases."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    way = way_of_steps(model)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, **way)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=config.eps, **way)


def way_of_steps(model: nn.Module) -> dict[str, Any]:
    """How torch's optimisers go over the parameters of a model. On a CPU a step of millions is a matter of how often
    they pass through memory: once (`fused`). Those of a small model are started together
    (`foreach`), which changes no bit of one after the other and takes as much room again; else as torch does.

    >>> way_of_steps(nn.Linear(2, 2))
    {'foreach': True}
    """
    size, devices = sum(p.numel() for p in model.parameters()), {p.device.type for p in model.parameters()}
    if devices == {"cpu"} and size > MANY:
        return {"fused": True}
    return {"foreach": True} if size <= SMALL else {}


MANY = 1_000_000
"""Parameters of a model that are so many that passes through memory count."""
SMALL = 50_000_000
"""So few that once more is no matter."""


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
    objective: Loss,
    batch: Any,
    rate: float,
    observe: Observe | None = None,
    clip: float | None = None,
    rows: int | None = None,
) -> float:
    """One ordinary optimiser step, in place; returns the loss.

    Args:
        model, optimizer: what is moved.
        objective: the loss, taken at its own `inputs`.
        batch: masked texts.
        rate: learning rate.
        observe: is shown the masked tokens and the model's guesses, once.
        clip: largest norm of the gradient; None: any.
        rows: of the batch at once, gradients being accumulated; None: all.

    Raises:
        FloatingPointError: the loss is NaN or infinite.
    """
    window, shown = Window([batch], [rate], objective, rows=rows), list[tuple[Tensor, Tensor]]()
    seen = partial(model, observe=lambda *pair: shown.append(pair)) if observe else model
    window.set_rate(optimizer, 0)
    optimizer.zero_grad()
    total = 0.0
    for loss in window.losses(seen, 0, objective.inputs(batch, next(model.parameters()))):
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the inner loss became {loss.item()}: lower inner.learning_rate")
        loss.backward()
        total += loss.item()
    if observe and shown:
        observe(*map(torch.cat, zip(*shown, strict=True)))
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return total
