"""Training on labelled examples; dev selects the epoch."""

import copy
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from policylearn.adapt.outer import extract
from policylearn.config import FineTuneConfig
from policylearn.messages.watch import UNSEEN_PROGRESS, Progress
from policylearn.problem import Examples, Problem
from policylearn.report.formats import score


class Schedule(Protocol):
    """For how long, and how much at once."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...


def train_classifier(
    problem: Problem,
    classifier: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    picked: np.ndarray,
    seed: int,
    progress: Progress = UNSEEN_PROGRESS,
) -> float:
    """Train in place; it ends as it was after the epoch with the best dev score, which is returned.

    Args:
        problem: holds the examples.
        classifier: (input_ids, real) → logits [B, C].
        optimizer: at its highest learning rate: up over a tenth of all steps, then down to 0.
        schedule: epochs and batch size.
        picked: training examples.
        seed: of their order.
        progress: counts training examples, and tells the dev score of every epoch.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    metric, train, dev = METRICS[problem.config.task.metric], problem.examples("train"), problem.examples("dev")

    def loss(rows: list[int]) -> Tensor:
        logits = classifier(*train.rows.batch(rows, problem.tokenizer.pad_token_id))
        return cross_entropy(logits, train.y[rows].to(logits.device))

    def dev_score() -> float:
        return metric(dev.y.numpy(), predicted(problem, classifier, dev))

    return train_best(classifier, loss, dev_score, optimizer, schedule, picked, seed, progress)


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
    """`train_classifier` of any model: `loss` is that of a batch of training examples, `dev_score` that of the model as
    it is."""
    best, kept = -1.0, model.state_dict()
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
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def predicted(problem: Problem, classifier: nn.Module, split: Examples) -> np.ndarray:
    """Class indices [N]."""
    with torch.no_grad():
        logits = extract(classifier, split, np.arange(len(split)), problem.tokenizer.pad_token_id, problem.watch)
        return logits.argmax(1).cpu().numpy()


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


def _warm_then_linear(step: int, steps: int, warmup: float = 0.1) -> float:
    """Factor of the learning rate: up over a tenth of all steps, then down to zero.

    >>> [round(_warm_then_linear(step, 10), 2) for step in (0, 1, 5, 10)]
    [1.0, 1.0, 0.56, 0.0]
    """
    warm = max(1.0, warmup * steps)
    return min((step + 1) / warm, (steps - step) / max(1.0, steps - warm)) if step < steps else 0.0


def _macro_f1(y: np.ndarray, predicted: np.ndarray) -> float:
    return float(f1_score(y, predicted, average="macro"))


def _accuracy(y: np.ndarray, predicted: np.ndarray) -> float:
    return float(accuracy_score(y, predicted))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"accuracy": _accuracy, "macro_f1": _macro_f1}
