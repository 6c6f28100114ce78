"""One rollout: base checkpoint → H inner steps under the policy's masks → a policy gradient.

A rollout is a pure function of (φ, config, seed). It may run anywhere, twice, or again after a crash.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from policylearn.adaptation import dev_score, outer_problem, support_and_query
from policylearn.batches import follow_mistakes, masked_batches
from policylearn.config import InnerConfig
from policylearn.inner.mlm import learning_rate, make_optimizer, plain_step
from policylearn.inner.model import InnerModel
from policylearn.inner.window import Window
from policylearn.masking import MaskedBatch
from policylearn.metagrad.engines import Engine, Outer, engine
from policylearn.metagrad.estimators import advantages, credit_surrogate, entropy, kl_divergence
from policylearn.metagrad.finite_difference import finite_difference
from policylearn.metagrad.one_step import one_step
from policylearn.policy import MaskingPolicy
from policylearn.problem import Problem
from policylearn.scores.adaptive import AdaptiveWeights

Credits = tuple[Sequence[MaskedBatch], Sequence[Tensor]]
"""Batches of a window, and ∂(outer loss)/∂w of their masked tokens."""


@dataclass(frozen=True)
class PolicyGradient:
    """What a rollout sends back: the gradient of the outer loss in φ, and a few numbers."""

    gradient: dict[str, Tensor]
    metrics: dict[str, float]


@dataclass
class Trajectory:
    """One rollout between two steps: θ, its optimiser, the batches to come, and numbers noted on the way."""

    problem: Problem
    policy: MaskingPolicy
    seed: int
    model: InnerModel
    optimizer: torch.optim.Optimizer
    adaptive: AdaptiveWeights | None
    batches: Iterator[MaskedBatch]
    step: int = 0
    windows: int = 0
    notes: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def start(cls, problem: Problem, policy: MaskingPolicy, seed: int) -> "Trajectory":
        """θ₀, a fresh optimiser and the first epoch's order."""
        model = problem.fresh_model(seed)
        optimizer = make_optimizer(model, problem.config.inner)
        trajectory = cls(problem, policy, seed, model, optimizer, follow_mistakes(problem, policy), iter(()))
        batches = masked_batches(problem, policy, seed, trajectory.adaptive, lambda: trajectory.progress)
        trajectory.batches = batches
        return trajectory

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        return learning_rate(self.problem.config.inner, self.step, self.problem.config.inner.steps)

    @property
    def progress(self) -> float:
        """Share of the steps that are done."""
        return self.step / self.problem.config.inner.steps

    def take_step(self, batch: MaskedBatch) -> None:
        """An ordinary optimiser step, in place."""
        watch = self.adaptive.observe if self.adaptive else None
        config = self.problem.config.inner
        loss = plain_step(self.model, self.optimizer, batch, self.rate, watch, config.clip, config.micro_batch)
        self.note(mlm_loss=loss)
        self.step += 1

    def note(self, **numbers: float) -> None:
        """Remember numbers, to be averaged over the rollout."""
        for name, number in numbers.items():
            self.notes[name].append(number)


def rollout(problem: Problem, policy: MaskingPolicy, seed: int, differentiate: bool = True) -> PolicyGradient:
    """Train a fresh model for H steps under the policy's masks; differentiate through windows on the way.

    Args:
        problem: data and models.
        policy: π_φ; its gradients are used as scratch and left empty.
        seed: of the model (where it is random), the data order, the masks and the support / query draws.
        differentiate: False trains only, for the dev score of a baseline.

    Returns:
        gradient by parameter name, averaged over windows, and metrics: `dev` (the probe's dev score at θ_H),
        `mlm_loss`, and with windows `outer_loss`, `outer_accuracy`, `entropy`, `kl`.

    Raises:
        FloatingPointError: the inner loss, the outer loss or the gradient is not finite.
    """
    trajectory = Trajectory.start(problem, policy, seed)
    policy.zero_grad(set_to_none=True)
    while trajectory.step < problem.config.inner.steps:
        if differentiate and opens_window(problem.config.inner, trajectory.step):
            learn_from_window(trajectory)
        else:
            trajectory.take_step(next(trajectory.batches))
    gradient = _collect(policy, trajectory.windows) if differentiate else {}
    policy.zero_grad(set_to_none=True)
    means = {name: float(np.mean(numbers)) for name, numbers in trajectory.notes.items()}
    return PolicyGradient(gradient, means | {"dev": dev_score(problem, trajectory.model)})


def opens_window(config: InnerConfig, step: int) -> bool:
    """Whether a window begins before this step.

    >>> config = InnerConfig(steps=20, start=0.5, every=4, window=2)
    >>> [step for step in range(20) if opens_window(config, step)]
    [10, 14, 18]
    """
    first = max(1, round(config.start * config.steps))
    return step >= first and (step - first) % config.every == 0 and step + config.window <= config.steps


def learn_from_window(trajectory: Trajectory) -> None:
    """Credits of one window, added to the policy's gradient; the trajectory moves on by the window's steps."""
    config = trajectory.problem.config
    credits = _one_step_credits if config.inner.engine == "one_step" else _window_credits
    batches, gradients = credits(trajectory, _outer_problem(trajectory), config.outer.parameters)
    _accumulate(trajectory, batches, advantages(gradients), config.learn.kl)
    trajectory.windows += 1


def _outer_problem(trajectory: Trajectory) -> Outer:
    """Support and query examples drawn anew from the training split for every window."""
    problem, key = trajectory.problem, [trajectory.seed, trajectory.step]
    support, query = support_and_query(problem.config.outer, len(problem.examples("train")), key)
    return outer_problem(problem, support, query, trajectory.note)


def _window_credits(trajectory: Trajectory, outer: Outer, parameters: str) -> Credits:
    batches, rates = [], []
    for _ in range(trajectory.problem.config.inner.window):
        batches.append(next(trajectory.batches))
        rates.append(trajectory.rate)
        trajectory.step += 1
    config = trajectory.problem.config.inner
    window = Window(batches, rates, clip=config.clip, rows=config.micro_batch)
    return batches, _engine(trajectory)(trajectory.model, trajectory.optimizer, window, outer, parameters)


def _engine(trajectory: Trajectory) -> Engine:
    name = trajectory.problem.config.inner.engine
    return partial(finite_difference, note=trajectory.note) if name == "finite_difference" else engine(name)


def _one_step_credits(trajectory: Trajectory, outer: Outer, parameters: str) -> Credits:
    batches = list(islice(trajectory.batches, trajectory.problem.config.inner.credit_batches))
    model, optimizer = trajectory.model, trajectory.optimizer
    window = Window(batches, [trajectory.rate] * len(batches))
    gradients = one_step(model, optimizer, window, outer, parameters)
    trajectory.take_step(batches[0])
    return batches, gradients


def _accumulate(trajectory: Trajectory, batches: Sequence[MaskedBatch], gradients: Sequence[Tensor], kl: float) -> None:
    """Add the gradient of credit and KL pull, averaged over the batches of a window, to the policy's."""
    policy = trajectory.policy
    for batch, gradient in zip(batches, gradients, strict=True):
        p, prior = policy.reconsider(batch)
        eligible = policy.eligible(batch.original, batch.real)
        pull = kl_divergence(p[eligible], prior.detach()[eligible])
        loss = (credit_surrogate(p, batch.mask, gradient) + kl * pull) / len(batches)
        if loss.requires_grad:
            loss.backward()
        trajectory.note(kl=pull.item(), entropy=entropy(p.detach()[eligible]).item())


def _collect(policy: MaskingPolicy, windows: int) -> dict[str, Tensor]:
    """The accumulated gradient, averaged over windows."""
    gradient = {
        name: torch.zeros_like(p) if p.grad is None else p.grad / max(windows, 1)
        for name, p in policy.named_parameters()
        if p.requires_grad
    }
    if not all(torch.isfinite(g).all() for g in gradient.values()):
        raise FloatingPointError("the policy gradient is not finite")
    return gradient
