"""A rollout on its way: the model, its optimiser and the batches to come."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from policylearn.inner.batches import Columns, follow_mistakes, masked_batches, no_columns
from policylearn.inner.objectives import Objective, objective_of
from policylearn.inner.steps import learning_rate, make_optimizer, plain_step
from policylearn.inner.window import Loss
from policylearn.masking import MaskedBatch
from policylearn.models.model import InnerModel
from policylearn.policy.adaptive import AMLM, AdaptiveWeights
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.protocols import Rows


@dataclass
class Trajectory:
    """One training between two steps: θ, optimiser, objective, the batches to come, and numbers noted on the way.

    Attributes:
        model: θ.
        moved: what steps are taken on, in all parameters: the model, or one that it is a part of.
        steps: of the whole training.
        step: those that are done.
    """

    problem: Problem
    policy: MaskingPolicy
    seed: int
    model: InnerModel
    moved: nn.Module
    optimizer: torch.optim.Optimizer
    objective: Objective
    adaptive: AdaptiveWeights | None
    batches: Iterator[MaskedBatch]
    steps: int
    step: int = 0
    windows: int = 0
    credited: int = 0
    notes: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def start(
        cls,
        problem: Problem,
        policy: MaskingPolicy,
        seed: int,
        *,
        mask_seed: int | None = None,
        steps: int | None = None,
        model: InnerModel | None = None,
        moved: nn.Module | None = None,
    ) -> "Trajectory":
        """θ₀, a fresh optimiser and the first epoch's order.

        Args:
            problem, policy: what is trained on, and what masks it.
            seed: of model, order and masks.
            mask_seed: moves the masks and nothing else.
            steps: of the training; None: `inner.steps`.
            model: is trained in place; None: a fresh one.
            moved: that it is a part of, if steps are to move more.
        """
        config, model = problem.config.inner, problem.fresh_model(seed) if model is None else model
        moved, steps = model if moved is None else moved, config.steps if steps is None else steps
        optimizer, objective = make_optimizer(moved, config), objective_of(problem)
        adaptive = follow_mistakes(problem, policy)
        trajectory = cls(problem, policy, seed, model, moved, optimizer, objective, adaptive, iter(()), steps)
        trajectory.batches = trajectory.masked(objective, mask_seed)
        return trajectory

    def masked(
        self,
        objective: Objective,
        mask_seed: int | None = None,
        rows: Rows | None = None,
        columns_of: Columns = no_columns,
    ) -> Iterator[MaskedBatch]:
        """`masked_batches`, each masked as at its own step: by how far the training is, and its mistakes till then."""

        def columns(ids: Tensor, real: Tensor) -> dict[str, Tensor]:
            followed = {AMLM: self.adaptive.scores[ids]} if self.adaptive else {}
            return followed | columns_of(ids, real)

        progress = lambda: self.progress  # noqa: E731
        return masked_batches(self.problem, self.policy, self.seed, objective, progress, mask_seed, rows, columns)

    @property
    def rate(self) -> float:
        """Learning rate of the next step; where none follows, of the last: a schedule may end at 0, by which nothing
        could be told of what a further one is worth."""
        return learning_rate(self.problem.config.inner, min(self.step, self.steps - 1), self.steps)

    @property
    def progress(self) -> float:
        """Share of the steps that are done."""
        return self.step / self.steps

    def look_ahead(self, steps: int) -> tuple[list[MaskedBatch], list[float]]:
        """Batches and learning rates of so many steps, which whoever asks takes; each is masked as at its own step."""
        batches, rates = [], []
        for _ in range(steps):
            batches.append(next(self.batches))
            rates.append(self.rate)
            self.step += 1
        return batches, rates

    def take_step(self, batch: Any, objective: Loss | None = None, followed: bool = True) -> float:
        """An ordinary optimiser step, in place, on another loss if one is given; returns the loss. Adaptive masks hear
        of its mistakes if they are `followed`."""
        config, observe = self.problem.config.inner, self.adaptive.observe if self.adaptive and followed else None
        taken = self.objective if objective is None else objective
        loss = plain_step(self.moved, self.optimizer, taken, batch, self.rate, observe, config.clip, config.micro_batch)
        self.note(mlm_loss=loss)
        self.step += 1
        return loss

    def note(self, **numbers: float) -> None:
        """Remember numbers, to be averaged over the rollout."""
        for name, number in numbers.items():
            self.notes[name].append(number)
