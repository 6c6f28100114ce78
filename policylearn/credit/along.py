"""Trainings, and the states of each at which masked tokens are credited.

What a token is credited with is the outer loss right after the next step (`credit.horizon` "step"), or that at the end
of the training ("end"). What lowers the first may raise the second: a model that has just begun gains most from what
every text would teach it anyway, the short-horizon bias of meta-learning (Wu et al., ICLR 2018). For "end" the training
is gone through once, back over all its steps (`metagrad.replay`), and once more to credit tokens on the way.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from policylearn.adapt.probe import ProbeLoss
from policylearn.config import Config
from policylearn.credit.credits import Tokens, credits_of, preconditioned, through, train_to
from policylearn.credit.outer import NamedGradients, outer_gradients
from policylearn.inner.seeds import TRAINING_SEED
from policylearn.inner.trajectory import Trajectory
from policylearn.inner.window import Window
from policylearn.messages.watch import At, Watch
from policylearn.metagrad.replay import Replay
from policylearn.models.parameters import carriers
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem

SETTLED = 5
"""Steps after which AdamW's moments tell the size of gradients. After one they are that one gradient, and a step by
them is of the few weights in which it happened to be next to nothing."""
SEED = 0
"""Of what is drawn of labelled and other texts."""


def steps(config: Config) -> list[int]:
    """After how many steps is measured: evenly from `inner.start` to `credit.until`, the first at least `SETTLED` steps
    in, or half of all in a training that is shorter.

    >>> steps(Config()), steps(Config.model_validate({"inner": {"steps": 6}}))
    ([5, 78, 150], [3, 4, 6])
    >>> steps(Config.model_validate({"credit": {"until": 0.3}}))
    [5, 25, 45]
    """
    inner = config.inner
    settled = min(SETTLED, max(1, inner.steps // 2))
    first = max(settled, inner.start * inner.steps)
    evenly = np.linspace(first, max(first, config.credit.until * inner.steps), config.credit.points)
    return [round(step) for step in evenly]


def tell_of_repeats(problem: Problem) -> None:
    """Say so where a training has fewer steps than it is to be credited at."""
    at, inner = steps(problem.config), problem.config.inner
    if (different := len(set(at))) < len(at):
        said = f"{len(at)} states of a training of {inner.steps} steps are {different} different ones, after "
        problem.tell(f"credit.points  {said}{', '.join(map(str, at))}: lower it, or raise inner.steps")


@dataclass
class Viewpoint:
    """A state of the model from which outer losses are seen. What it tells is computed when first asked for, which must
    be before the training goes on.

    Attributes:
        trajectory: at this state.
        losses: outer losses by name.
        watch: shows how far long work is.
        training: its number, from 0.
        wanted: parameters that gradients are wanted in, see `models.parameters.carriers`.
        from_end: directions by name of the loss, where the steps that follow count; there are none at the very end.
    """

    trajectory: Trajectory
    losses: Mapping[str, ProbeLoss]
    watch: Watch
    training: int = 0
    wanted: str = "all"
    from_end: Mapping[str, NamedGradients] | None = None

    @cached_property
    def gradients(self) -> dict[str, NamedGradients]:
        """∇(outer loss) by name of the loss."""
        model = self.trajectory.model
        return outer_gradients(model, self.losses, carriers(model, self.wanted), self.watch)

    @cached_property
    def preconditioned(self) -> dict[str, NamedGradients]:
        """P ∇(outer loss), with the optimiser's P of the moment."""
        return {name: preconditioned(self.trajectory, found) for name, found in self.gradients.items()}

    @cached_property
    def directions(self) -> dict[str, NamedGradients]:
        """d, such that d · ∇CE_i / M is the credit of token i: P ∇(outer loss) through `outer.parameters`, or what the
        steps that follow make of it, in all parameters."""
        if self.from_end is not None:
            return dict(self.from_end)
        model, which = self.trajectory.model, self.trajectory.problem.config.outer.parameters
        return {name: through(model, found, which) for name, found in self.preconditioned.items()}

    def credits(self, batches: Iterable, names: Sequence[str]) -> Iterator[Tokens]:
        """Credits of every batch, one column per named loss."""
        return credits_of(self.trajectory, batches, [self.directions[name] for name in names])


def credits_along(
    problem: Problem,
    policy: MaskingPolicy,
    losses: Mapping[str, ProbeLoss],
    work: str = "credits",
    wanted: str = "all",
) -> Iterator[Viewpoint]:
    """Train fresh models under a policy's masks, and stop at the points of each to credit tokens there.

    Args:
        problem: data and models; `config.credit` names trainings, points and horizon.
        policy: that the trainings are masked by.
        losses: outer losses by name.
        work: what it is done for, as whoever watches is told.
        wanted: parameters that outer gradients are wanted in.
    """
    settings, points = problem.config.credit, steps(problem.config)
    for training in range(settings.trainings):
        which = f", training {training + 1} of {settings.trainings}" if settings.trainings > 1 else ""
        ahead = {step: dict[str, NamedGradients]() for step in points if step < problem.config.inner.steps}
        for name, loss in losses.items() if settings.horizon == "end" else ():
            looking = At(problem.watch, f"{work}{which}, back from the end")
            for step, direction in look_back(problem, policy, TRAINING_SEED + training, list(ahead), loss, looking):
                ahead[step][name] = direction
        trajectory = Trajectory.start(problem, policy, TRAINING_SEED + training)
        for number, step in enumerate(points, start=1):
            watch = At(problem.watch, f"{work}{which}, point {number} of {len(points)}")
            train_to(trajectory, step, watch)
            yield Viewpoint(trajectory, losses, watch, training, wanted, ahead.get(step) or None)


def look_back(
    problem: Problem, policy: MaskingPolicy, seed: int, points: Sequence[int], loss: ProbeLoss, watch: Watch
) -> Iterator[tuple[int, NamedGradients]]:
    """Train a fresh model to the end, and go back over all its steps.

    Yields:
        of every point, a number of steps that is not all of them: itself, and -∂L/∂g by parameter name, where g is the
        gradient of the step that follows and L the outer loss at the end.
    """
    trajectory, inner = Trajectory.start(problem, policy, seed), problem.config.inner
    if not points:
        return
    train_to(trajectory, first := min(points), watch)
    batches, rates = trajectory.look_ahead(inner.steps - first)
    window = Window(batches, rates, trajectory.objective, inner.clip, rows=inner.micro_batch)
    found: dict[int, NamedGradients] = {}
    with watch.begin("steps", len(batches)) as progress:

        def keep(k: int, u: NamedGradients) -> None:
            progress.advance()
            if first + k in points:
                found[first + k] = {name: -part for name, part in u.items()}

        through = problem.config.outer.parameters
        Replay(trajectory.model, trajectory.optimizer, window, loss, through, visit=keep).run()
    yield from found.items()


def states(config: Config) -> int:
    """How many states of models are credited at."""
    return config.credit.trainings * config.credit.points
