"""A rollout on its way: the model, its optimiser and the batches to come."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import torch

from policylearn.inner.batches import follow_mistakes, masked_batches
from policylearn.inner.objectives import Objective, objective_of
from policylearn.inner.steps import learning_rate, make_optimizer, plain_step
from policylearn.masking import MaskedBatch
from policylearn.models.model import InnerModel
from policylearn.policy.adaptive import AdaptiveWeights
from policylearn.policy.policy import MaskingPolicy
from policylearn.problem import Problem


@dataclass
class Trajectory:
    """One rollout between two steps: θ, optimiser, objective, the batches to come, and numbers noted on the way."""

    problem: Problem
    policy: MaskingPolicy
    seed: int
    model: InnerModel
    optimizer: torch.optim.Optimizer
    objective: Objective
    adaptive: AdaptiveWeights | None
    batches: Iterator[MaskedBatch]
    step: int = 0
    windows: int = 0
    credited: int = 0
    notes: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def start(cls, problem: Problem, policy: MaskingPolicy, seed: int, mask_seed: int | None = None) -> "Trajectory":
        """θ₀, a fresh optimiser and the first epoch's order; `mask_seed` moves the masks and nothing else."""
        model = problem.fresh_model(seed)
        optimizer, objective = make_optimizer(model, problem.config.inner), objective_of(problem)
        adaptive = follow_mistakes(problem, policy)
        trajectory = cls(problem, policy, seed, model, optimizer, objective, adaptive, iter(()))
        trajectory.batches = masked_batches(
            problem, policy, seed, objective, adaptive, lambda: trajectory.progress, mask_seed
        )
        return trajectory

    @property
    def rate(self) -> float:
        """Learning rate of the next step; where none follows, of the last: a schedule may end at 0, by which nothing
        could be told of what a further one is worth."""
        steps = self.problem.config.inner.steps
        return learning_rate(self.problem.config.inner, min(self.step, steps - 1), steps)

    @property
    def progress(self) -> float:
        """Share of the steps that are done."""
        return self.step / self.problem.config.inner.steps

    def look_ahead(self, steps: int) -> tuple[list[MaskedBatch], list[float]]:
        """Batches and learning rates of so many steps, which whoever asks takes; each is masked as at its own step."""
        batches, rates = [], []
        for _ in range(steps):
            batches.append(next(self.batches))
            rates.append(self.rate)
            self.step += 1
        return batches, rates

    def take_step(self, batch: MaskedBatch) -> None:
        """An ordinary optimiser step, in place."""
        watch = self.adaptive.observe if self.adaptive else None
        config, step = self.problem.config.inner, partial(plain_step, self.model, self.optimizer, self.objective)
        loss = step(batch, self.rate, watch, config.clip, config.micro_batch)
        self.note(mlm_loss=loss)
        self.step += 1

    def note(self, **numbers: float) -> None:
        """Remember numbers, to be averaged over the rollout."""
        for name, number in numbers.items():
            self.notes[name].append(number)
