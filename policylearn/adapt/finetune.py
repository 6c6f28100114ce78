"""Adaptation by fine-tuning of encoder and head: a few differentiated steps, or to the end.

The head starts from the ridge solution on the features of θ, which is differentiated like everything else. From a head
of zeros the few steps would mostly go into the head, the first gives the encoder no gradient at all, and that zero is
where AdamW's update has a slope of 1 / ε.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from policylearn.adapt.chosen import Adaptation, Chosen, FrozenFeatures, Note
from policylearn.adapt.ridge import centred_targets, ridge_head
from policylearn.adapt.training import Schedule, adamw, train_best
from policylearn.config import FineTuneConfig, InnerConfig, OuterConfig
from policylearn.inner.steps import make_optimizer
from policylearn.inner.window import Window
from policylearn.messages.watch import UNSEEN, UNSEEN_PROGRESS, Progress, Watch
from policylearn.models.chunks import Indices
from policylearn.models.model import Features, InnerModel
from policylearn.problems.problem import Problem
from policylearn.report.formats import score


class Classifier(nn.Module):
    """An encoder with a linear head: logits [B, C] of the classes, or (of `at`, see `InnerModel`) [W, C]; where labels
    [B, T] of masked places are given, what the encoder's own head says of these.

    Args:
        encoder: an `InnerModel`, not copied.
        weight, bias: [C, d] and [C] where the head starts, copied.
    """

    def __init__(self, encoder: nn.Module, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())

    def forward(self, input_ids: Tensor, real: Tensor, labels: Tensor | None = None, **more: Tensor) -> Tensor:
        if labels is not None:
            return self.encoder(input_ids, real, labels=labels, **more)
        return self.encoder(input_ids, real, **more) @ self.weight.T + self.bias


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


def outer_loss(problem: Problem, support: Indices, query: Indices, key: Sequence[int], note: Note) -> FineTuning:
    """The outer loss after fine-tuning on support examples. Its `query` raises FloatingPointError where the loss is NaN
    or infinite."""
    kind, train, config = problem.kind, problem.labelled("train"), problem.config.outer
    batches = [kind.batch(train, rows) for rows in rows_of_steps(config, support)]
    head = None if kind.readout is None else partial(head_of, problem, support)
    return FineTuning.of(config, batches, kind.step_loss, head, partial(query_loss, problem, "train", query, note))


def head_of(problem: Problem, picked: Indices, features: Features, watch: Watch = UNSEEN) -> tuple[Tensor, Tensor]:
    """Where a head starts: `ridge_head` of the picked training examples."""
    train, readout = problem.examples("train"), problem.kind.readout
    assert readout is not None
    x = train.outputs(features, picked, problem.pad_id, watch)
    return ridge_head(x, train.y[train.targets_of(picked)].to(x.device), readout)


@torch.no_grad()
def first_heads(
    problem: Problem, picked: np.ndarray, features: Features, config: FineTuneConfig
) -> dict[str, tuple[Tensor, Tensor]]:
    """Weight and bias with which a fine-tuning to the end starts, or each of several that are tried, by the names that
    `config.head` has for them."""
    weight, bias = head_of(problem, picked, features)
    train, readout = problem.examples("train"), problem.kind.readout
    assert readout is not None
    _, centre = centred_targets(readout.targets(train.y[train.targets_of(picked)]).to(bias))
    nothing = torch.zeros_like(weight), readout.outputs(torch.zeros_like(bias), 1.0, centre)
    known = {"ridge": (weight, bias), "zeros": nothing}
    return known if config.head == "both" else {config.head: known[config.head]}


def best_start(heads: Mapping[str, tuple[Tensor, Tensor]], train: Callable[..., Chosen]) -> Chosen:
    """Of trainings that start from these heads, the one with the highest dev score; of equal ones the first."""
    found = {name: train(*head) for name, head in heads.items()}
    best = max(found, key=lambda name: found[name].dev)
    others = ", ".join(f"{score(chosen.dev)} from {name}" for name, chosen in found.items() if name != best)
    return replace(found[best], said=f"from {best}: dev {score(found[best].dev)}, {others}") if others else found[best]


def query_loss(problem: Problem, split: str, picked: Indices, note: Note, model: Callable[..., Tensor]) -> Tensor:
    """The loss of the picked rows under a tuned model. FloatingPointError: it is NaN or infinite."""
    found, quality = problem.kind.query_loss(model, problem.labelled(split), picked)
    if not torch.isfinite(found):
        rate = "mask_rate" if problem.config.outer.adaptation == "weight_mask" else "learning_rate"
        raise FloatingPointError(f"the outer loss became {found.item()}: lower outer.{rate}")
    note(outer_loss=found.item(), outer_accuracy=quality)
    return found


def dev_likelihood(problem: Problem, model: InnerModel) -> float:
    """exp(-loss) on dev after fine-tuning as in the outer loss, on the same training rows whenever it is asked for: how
    good θ has become for a task without a head."""
    support = np.random.default_rng(0).permutation(len(problem.labelled("train")))[: problem.config.outer.support]
    dev, tuning = problem.labelled("dev"), outer_loss(problem, support, [], [0], lambda **_: None)
    unnoted = partial(query_loss, problem, "dev", np.arange(len(dev)), lambda **_: None)
    return float(np.exp(-replace(tuning, query=unnoted)(model).item()))


def fit(features: FrozenFeatures, picked: np.ndarray, seed: int, progress: Progress = UNSEEN_PROGRESS) -> Chosen:
    """A copy of the model, with its head if there is one, fine-tuned on the picked training rows by AdamW; dev selects
    the epoch. The head starts from the ridge solution on frozen features (linear probing, then fine-tuning: Kumar et
    al., ICLR 2022), so that the first steps do not spoil the features for a head that knows nothing; or, by
    `evaluate.finetune.head`, from zeros, or from the one of them that dev selects.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    problem, kind, config = features.problem, features.problem.kind, features.problem.config.evaluate.finetune

    def train(*head: Tensor) -> Chosen:
        tuned: nn.Module = copy.deepcopy(features.model)
        tuned = Classifier(tuned, *head) if head else tuned
        return choose_epoch(problem, tuned, adamw(tuned, config), config, picked, seed, progress)

    if kind.readout is None:
        return train()
    return best_start(first_heads(problem, picked, features.model, config), train)


def choose_epoch(
    problem: Problem,
    tuned: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    picked: np.ndarray,
    seed: int,
    progress: Progress,
    loss: Callable[[list[int]], Tensor] | None = None,
) -> Chosen:
    """`train_best` of a model on the task's metric and a loss of rows, by default the task's own."""
    kind, train, dev = problem.kind, problem.labelled("train"), problem.labelled("dev")
    best = train_best(
        tuned,
        loss or partial(kind.training_loss, tuned, train),
        lambda: kind.score(tuned, dev, problem.watch),
        optimizer,
        schedule,
        picked,
        seed,
        progress,
    )
    return Chosen(best, lambda split: kind.score(tuned, split, problem.watch), tuned)


ADAPTATION = Adaptation(outer_loss, fit)
