"""One rollout: base checkpoint → H inner steps under the policy's masks → a policy gradient.

A rollout is a pure function of (φ, config, seed). It may run anywhere, twice, or again after a crash.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policylearn.adapt.outer import dev_score
from policylearn.inner.trajectory import Trajectory
from policylearn.learning.windows import opens_window
from policylearn.masking import MaskedBatch
from policylearn.metagrad.estimators import entropy, kl_divergence
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.registry.known import ESTIMATORS

Surrogate = Callable[[Tensor], Tensor]
"""p [B, T] of a batch → a scalar whose gradient in φ is what an estimator says of the batch."""

Estimate = Callable[[Trajectory], tuple[Sequence[MaskedBatch], list[Surrogate]]]
"""What is said of one window, through which the trajectory moves on."""

Estimator = Callable[[Problem, MaskingPolicy, int], list[Trajectory]]
"""(problem, policy, seed) → trainings of all H steps, with their gradient added to the policy's: what `learn.estimator`
names."""


@dataclass(frozen=True)
class PolicyGradient:
    """What a rollout sends back: the gradient of the outer loss in φ, and a few numbers."""

    gradient: dict[str, Tensor]
    metrics: dict[str, float]

    def __reduce__(self) -> tuple[Any, ...]:
        # Between processes as arrays: small tensors take ten times as long to pickle as what they hold.
        return _from_arrays, ({name: value.numpy() for name, value in self.gradient.items()}, self.metrics)


def _from_arrays(arrays: dict[str, np.ndarray], metrics: dict[str, float]) -> PolicyGradient:
    return PolicyGradient({name: torch.tensor(value) for name, value in arrays.items()}, metrics)


def rollout(problem: Problem, policy: MaskingPolicy, seed: int, differentiate: bool = True) -> PolicyGradient:
    """Train a fresh model for H steps under the policy's masks; differentiate through windows on the way.

    With the estimator `score_function`: train several, which differ in their masks alone, and compare them. Further
    estimators come by the entry point `policylearn.estimators`.

    Args:
        problem: data and models.
        policy: π_φ; its gradients are used as scratch and left empty.
        seed: of the model (where it is random), the data order, the masks and the support / query draws.
        differentiate: False trains one model only, for the dev score of a baseline.

    Returns:
        gradient by parameter name, averaged over windows, and metrics: `dev` (the probe's dev score at θ_H),
        `mlm_loss` (of the inner objective), `inner_steps` (updates of all models), and with a gradient `outer_loss`,
        `outer_accuracy`, `entropy`, `kl`, `credited_batches` (masked batches that the outer loss was differentiated
        in).

    Raises:
        ValueError: an estimator or engine of others gives what is none.
        FloatingPointError: the inner loss, the outer loss or the gradient is not finite.
    """
    policy.zero_grad(set_to_none=True)
    estimator: Estimator = ESTIMATORS.get(problem.config.learn.estimator) if differentiate else train_once
    trajectories = estimator(problem, policy, seed)
    given = trajectories if isinstance(trajectories, list | tuple) else []
    if not given or not all(isinstance(one, Trajectory) for one in given):
        name = problem.config.learn.estimator
        raise ValueError(
            f"estimator {name!r} gave a {type(trajectories).__name__}: have it give a list of trainings, one at least"
        )
    gradient = _collect(policy, sum(t.windows for t in trajectories)) if differentiate else {}
    policy.zero_grad(set_to_none=True)
    return PolicyGradient(gradient, _metrics(trajectories, differentiate))


def train_once(
    problem: Problem, policy: MaskingPolicy, seed: int, estimate: Estimate | None = None
) -> list[Trajectory]:
    """One training of all H steps; with an estimate, its gradient of every window is added to the policy's."""
    trajectory, config = Trajectory.start(problem, policy, seed), problem.config.inner
    while trajectory.step < config.steps:
        if estimate is not None and opens_window(config, trajectory.step):
            batches, objectives = estimate(trajectory)
            trajectory.credited += len(batches)
            accumulate(trajectory, batches, objectives)
        else:
            trajectory.take_step(next(trajectory.batches))
    return [trajectory]


def accumulate(trajectory: Trajectory, batches: Sequence[MaskedBatch], surrogates: Sequence[Surrogate]) -> None:
    """Add the gradient of surrogate and KL pull, averaged over the batches of a window, to the policy's."""
    policy, kl = trajectory.policy, trajectory.problem.config.learn.kl
    for batch, surrogate in zip(batches, surrogates, strict=True):
        p, prior = policy.reconsider(batch)
        eligible = policy.eligible(batch.original, batch.real)
        pull = kl_divergence(p[eligible], prior.detach()[eligible])
        loss = (surrogate(p) + kl * pull) / len(batches)
        if loss.requires_grad:
            loss.backward()
        trajectory.note(kl=pull.item(), entropy=entropy(p.detach()[eligible]).item())
    trajectory.windows += 1


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


def _metrics(trajectories: Sequence[Trajectory], differentiate: bool) -> dict[str, float]:
    """Numbers noted on the way and the dev score, averaged; work done, summed."""
    means: dict[str, float] = {}
    for name in trajectories[0].notes:
        means[name] = float(np.mean([number for t in trajectories for number in t.notes[name]]))
    dev = float(np.mean([dev_score(t.problem, t.model) for t in trajectories]))
    work = {"inner_steps": float(sum(t.step for t in trajectories))}
    if differentiate:
        work["credited_batches"] = float(sum(t.credited for t in trajectories))
    return means | work | {"dev": dev}
