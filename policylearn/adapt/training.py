"""Training on labelled examples; dev selects the epoch."""

import copy
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from policylearn.config import FineTuneConfig
from policylearn.inner.steps import way_of_steps
from policylearn.messages.watch import UNSEEN_PROGRESS, Progress
from policylearn.report.formats import score


class Schedule(Protocol):
    """For how long, and how much at once."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...


def train_best(
    model: nn.Module,
    loss: Callable[[list[int]], Tensor],
    dev_score: Callable[[], float],
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    picked: np.ndarray,
    seed: int,
    progress: Progress = UNSEEN_PROGRESS,
) -> float:
    """Train in place; it ends as it was after the epoch with the best dev score, which is returned.

    Args:
        model: is trained.
        loss: of a batch of training examples, given by their numbers.
        dev_score: of the model as it is.
        optimizer: at its highest learning rate: up over a tenth of all steps, then down to 0.
        schedule: epochs and batch size.
        picked: training examples.
        seed: of their order.
        progress: counts training examples, and tells the dev score of every epoch.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    best, kept = -float("inf"), model.state_dict()
    for epoch in _epochs(model, loss, optimizer, schedule, picked, seed, progress):
        found = dev_score()
        if found > best:
            best, kept = found, copy.deepcopy(model.state_dict())
        progress.advance(0, f"epoch {epoch + 1} of {schedule.epochs}: dev {score(found)}")
    model.load_state_dict(kept)
    return best


def adamw(model: nn.Module, config: FineTuneConfig) -> torch.optim.AdamW:
    """For fine-tuning: no weight decay on norms and biases."""
    groups = [
        {"params": [p for p in model.parameters() if (p.ndim > 1) == decays], "weight_decay": decay}
        for decays, decay in ((True, config.weight_decay), (False, 0.0))
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, **way_of_steps(model))


def _epochs(
    model: nn.Module,
    loss: Callable[[list[int]], Tensor],
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    picked: np.ndarray,
    seed: int,
    progress: Progress,
) -> Iterator[int]:
    """Train, and stop for a look at the end of every epoch."""
    steps = -(-len(picked) // schedule.batch_size) * schedule.epochs
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _warm_then_linear(step, steps))
    for epoch in range(schedule.epochs):
        order = np.random.default_rng([seed, epoch]).permutation(picked)
        for first in range(0, len(order), schedule.batch_size):
            rows = order[first : first + schedule.batch_size].tolist()
            found = loss(rows)
            if not torch.isfinite(found):
                raise FloatingPointError(f"the loss became {found.item()} in epoch {epoch}: lower the learning rate")
            optimizer.zero_grad()
            found.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            warmup.step()
            progress.advance(len(rows))
        yield epoch


def _warm_then_linear(step: int, steps: int) -> float:
    """Factor of the learning rate: up over a tenth of all steps, then down to zero.

    >>> [round(_warm_then_linear(step, 10), 2) for step in (0, 1, 5, 10)]
    [1.0, 1.0, 0.56, 0.0]
    """
    warm = max(1.0, 0.1 * steps)
    return min((step + 1) / warm, (steps - step) / max(1.0, steps - warm)) if step < steps else 0.0
