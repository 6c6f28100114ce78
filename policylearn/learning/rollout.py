"""One rollout: base checkpoint → H inner steps under the policy's masks → a policy gradient.

A rollout is a pure function of (φ, config, seed). It may run anywhere, twice, or again after a crash.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policylearn.adapt.outer import dev_score, outer_problem
from policylearn.config import Config, InnerConfig
from policylearn.inner.seeds import SAMPLE_BITS
from policylearn.inner.trajectory import Trajectory
from policylearn.inner.window import Loss, Window
from policylearn.masking import MaskedBatch
from policylearn.metagrad.engines import Engine, Outer, engine
from policylearn.metagrad.estimators import (
    SoftMask,
    advantages,
    credit_surrogate,
    entropy,
    kl_divergence,
    leave_one_out,
    mask_room,
    relaxed_parts,
    relaxed_surrogate,
    room_derivatives,
)
from policylearn.metagrad.finite_difference import finite_difference
from policylearn.metagrad.one_step import one_step
from policylearn.policy.policy import MaskingPolicy, shown_if_masked
from policylearn.problem import Problem
from policylearn.registry.known import ESTIMATORS

Credits = tuple[Sequence[MaskedBatch], Sequence[Tensor]]
"""Batches of a window, and ∂(outer loss)/∂x of each."""

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
            _accumulate(trajectory, batches, objectives)
        else:
            trajectory.take_step(next(trajectory.batches))
    return [trajectory]


def by_credit(problem: Problem, policy: MaskingPolicy, seed: int) -> list[Trajectory]:
    """The estimator `credit`, see `metagrad.estimators`."""
    return train_once(problem, policy, seed, _credit)


def by_relaxation(problem: Problem, policy: MaskingPolicy, seed: int) -> list[Trajectory]:
    """The estimator `relaxed`."""
    return train_once(problem, policy, seed, _relaxed)


def compare_trainings(problem: Problem, policy: MaskingPolicy, seed: int) -> list[Trajectory]:
    """The estimator `score_function`: `learn.samples` trainings with common random numbers, that is the same θ₀, data
    order, support and query examples, and different masks. Adds the leave-one-out gradient of the outer loss at θ_H to
    the policy's."""
    trainings, losses = [], []
    for sample in range(problem.config.learn.samples):
        trajectory = Trajectory.start(problem, policy, seed, mask_seed=seed + (sample << SAMPLE_BITS))
        batches: list[MaskedBatch] = []
        for _ in range(problem.config.inner.steps):
            batches.append(next(trajectory.batches))
            trajectory.take_step(batches[-1])
        losses.append(_outer_problem(trajectory)(trajectory.model).detach())
        trainings.append((trajectory, batches))
    for (trajectory, batches), advantage in zip(trainings, leave_one_out(torch.stack(losses).double()), strict=True):
        _accumulate(trajectory, batches, _score_surrogates(policy, batches, advantage.item()))
    return [trajectory for trajectory, _ in trainings]


def check_windows(config: Config, asked: bool = False) -> None:
    """Refuse settings under which a rollout ends before its first window does, and its gradient would be zero.

    Args:
        config: the experiment.
        asked: whether gradients are wanted whatever is learned.

    Raises:
        ValueError: naming them.
    """
    inner, learn = config.inner, config.learn
    learns = asked or ("rounds" in learn.stages and learn.rounds and config.policy.network != "none")
    if learns and learn.estimator != "score_function" and inner.first_window + inner.window > inner.steps:
        raise ValueError(
            f"inner.window = {inner.window} after the first {inner.first_window} of inner.steps = {inner.steps} steps "
            "does not fit: raise inner.steps, or lower inner.window or inner.start"
        )


def opens_window(config: InnerConfig, step: int) -> bool:
    """Whether a window begins before this step.

    >>> config = InnerConfig(steps=20, start=0.5, every=4, window=2)
    >>> [step for step in range(20) if opens_window(config, step)]
    [10, 14, 18]
    """
    since = step - config.first_window
    return since >= 0 and since % config.every == 0 and step + config.window <= config.steps


def _credit(trajectory: Trajectory) -> tuple[Sequence[MaskedBatch], list[Surrogate]]:
    batches, gradients = credits_over_window(trajectory, trajectory.objective)
    pairs = zip(batches, advantages(gradients), strict=True)
    return batches, [partial(credit_surrogate, mask=batch.mask, gradient=a) for batch, a in pairs]


def _relaxed(trajectory: Trajectory) -> tuple[Sequence[MaskedBatch], list[Surrogate]]:
    batches, gradients = credits_over_window(trajectory, SoftMask(partial(shown_if_masked, trajectory.policy)))
    parts = zip(batches, relaxed_parts([batch.mask for batch in batches], gradients), strict=True)
    return batches, [partial(relaxed_surrogate, mask=batch.mask, weights=w, hidden=h) for batch, (w, h) in parts]


def credits_over_window(trajectory: Trajectory, loss: Loss) -> Credits:
    """Take a trajectory over the window that opens here, by the engine of the config.

    Args:
        trajectory: is moved on.
        loss: of the steps, and what it is differentiated in: the objective's own, or one such as `SoftMask`.

    Returns:
        the batches of the window, and ∂(outer loss at its end)/∂x of each, on the CPU.

    Raises:
        ValueError: what the engine gave has not the shapes of x.
        FloatingPointError: it is NaN or infinite.
    """
    credits = _one_step_credits if trajectory.problem.config.inner.engine == "one_step" else _window_credits
    batches, gradients = credits(trajectory, loss, _outer_problem(trajectory))
    return batches, [gradient.cpu() for gradient in gradients]  # where the policy is, whatever the model is on


def _outer_problem(trajectory: Trajectory) -> Outer:
    """Labelled examples drawn anew from the training split for every window."""
    return outer_problem(trajectory.problem, [trajectory.seed, trajectory.step], trajectory.note)


def _window_credits(trajectory: Trajectory, loss: Loss, outer: Outer) -> Credits:
    config = trajectory.problem.config
    inner = config.inner
    batches, rates = trajectory.look_ahead(inner.window)
    window = Window(batches, rates, loss, inner.clip, rows=inner.micro_batch)
    found = _engine(trajectory)(trajectory.model, trajectory.optimizer, window, outer, config.outer.parameters)
    like = next(trajectory.model.parameters())
    _check_credits(inner.engine, found, [loss.inputs(batch, like).shape for batch in batches])
    return batches, found


def _check_credits(name: str, found: Any, shapes: Sequence[torch.Size]) -> None:
    """Refuse what an engine gave if it is not of the shapes of x, to which it might be spread, or not finite."""
    if not isinstance(found, list | tuple) or not all(isinstance(credit, Tensor) for credit in found):
        raise ValueError(
            f"engine {name!r} gave a {type(found).__name__}: have it give a list of tensors, one for each step"
        )
    if (given := [credit.shape for credit in found]) != list(shapes):
        told, wanted = (", ".join(str(list(shape)) for shape in sizes) for sizes in (given, shapes))
        raise ValueError(
            f"engine {name!r} gave credits {told} for x of {wanted}: have it give one for each number of x"
        )
    if not all(bool(torch.isfinite(credit).all()) for credit in found):
        raise FloatingPointError(
            f"credits of engine {name!r} are NaN or infinite: lower inner.window or inner.learning_rate, or mend the "
            "engine if others give none such"
        )


def _engine(trajectory: Trajectory) -> Engine:
    name = trajectory.problem.config.inner.engine
    return partial(finite_difference, note=trajectory.note) if name == "finite_difference" else engine(name)


def _one_step_credits(trajectory: Trajectory, loss: Loss, outer: Outer) -> Credits:
    config = trajectory.problem.config
    batches = list(islice(trajectory.batches, config.inner.credit_batches))
    window = Window(batches, [trajectory.rate] * len(batches), loss)
    gradients = one_step(trajectory.model, trajectory.optimizer, window, outer, config.outer.parameters)
    trajectory.take_step(batches[0])
    return batches, gradients


def _score_surrogates(policy: MaskingPolicy, batches: Sequence[MaskedBatch], advantage: float) -> list[Surrogate]:
    """Of the masks of one training; times H, for what is accumulated is a mean over batches."""
    with torch.no_grad():
        rooms = [mask_room(policy.reconsider(batch)[0], batch, policy.masking) for batch in batches]
    derivatives = room_derivatives(rooms, [batch.keys for batch in batches if batch.keys is not None])
    scale = advantage * len(batches)

    def surrogate(batch: MaskedBatch, derivative: Tensor, p: Tensor) -> Tensor:
        return scale * (derivative * mask_room(p, batch, policy.masking)).sum()

    return [partial(surrogate, batch, d) for batch, d in zip(batches, derivatives, strict=True)]


def _accumulate(trajectory: Trajectory, batches: Sequence[MaskedBatch], surrogates: Sequence[Surrogate]) -> None:
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
