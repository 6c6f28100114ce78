"""A training, and the states of it at which masked tokens are credited."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from policylearn.adapt.probe import ProbeLoss
from policylearn.config import Config
from policylearn.credit.credits import (
    Gradients,
    Tokens,
    credits_of,
    outer_gradients,
    preconditioned,
    through,
    train_to,
)
from policylearn.inner.trajectory import Trajectory
from policylearn.messages.watch import At, Watch
from policylearn.policy.policy import MaskingPolicy
from policylearn.problem import Problem

SEED = 0
"""Of the training, and of what is drawn for it."""


def steps(config: Config) -> list[int]:
    """After how many steps is measured: evenly from the first window to the end, at least one step in.

    >>> steps(Config())
    [1, 75, 150]
    """
    first = config.inner.start * config.inner.steps
    return [max(1, round(step)) for step in np.linspace(first, config.inner.steps, config.credit.points)]


@dataclass
class Viewpoint:
    """A state of the model from which outer losses are seen. What it tells is computed when first asked for, which must
    be before the training goes on.

    Attributes:
        trajectory: at this state.
        losses: outer losses by name.
        watch: shows how far long work is.
    """

    trajectory: Trajectory
    losses: Mapping[str, ProbeLoss]
    watch: Watch

    @cached_property
    def gradients(self) -> dict[str, Gradients]:
        """∇(outer loss) by name of the loss."""
        return outer_gradients(self.trajectory.model, self.losses, self.watch)

    @cached_property
    def preconditioned(self) -> dict[str, Gradients]:
        """P ∇(outer loss), with the optimiser's P of the moment."""
        return {name: preconditioned(self.trajectory, found) for name, found in self.gradients.items()}

    @cached_property
    def directions(self) -> dict[str, Gradients]:
        """What of them flows through `outer.parameters`."""
        model, which = self.trajectory.model, self.trajectory.problem.config.outer.parameters
        return {name: through(model, found, which) for name, found in self.preconditioned.items()}

    def credits(self, batches: Iterable, names: Sequence[str]) -> Iterator[Tokens]:
        """Credits of every batch, one column per named loss."""
        return credits_of(self.trajectory, batches, [self.directions[name] for name in names])


def credits_along(
    problem: Problem,
    policy: MaskingPolicy,
    seed: int,
    points: Sequence[int],
    losses: Mapping[str, ProbeLoss],
    work: str = "credits",
) -> Iterator[Viewpoint]:
    """Train a fresh model under a policy's masks, and stop at some points to credit tokens there.

    Args:
        problem: data and models.
        policy: that the training is masked by.
        seed: of the training.
        points: after how many steps to stop, ascending.
        losses: outer losses by name.
        work: what it is done for, as whoever watches is told.
    """
    trajectory = Trajectory.start(problem, policy, seed)
    for number, step in enumerate(points, start=1):
        watch = At(problem.watch, f"{work}, point {number} of {len(points)}")
        train_to(trajectory, step, watch)
        yield Viewpoint(trajectory, losses, watch)
