"""Our estimators of the policy's gradient: `credit`, `relaxed` and `score_function`, see `metagrad.estimators`."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from policylearn.inner.seeds import SAMPLE_BITS
from policylearn.inner.trajectory import Trajectory
from policylearn.learning.rollout import Surrogate, accumulate, train_once
from policylearn.learning.windows import credits_over_window, outer_at
from policylearn.masking import MaskedBatch
from policylearn.metagrad.estimators import (
    SoftMask,
    advantages,
    credit_surrogate,
    leave_one_out,
    mask_room,
    relaxed_parts,
    relaxed_surrogate,
    room_derivatives,
)
from policylearn.policy.policy import MaskingPolicy, shown_if_masked
from policylearn.problems.problem import Problem


def by_credit(problem: Problem, policy: MaskingPolicy, seed: int) -> list[Trajectory]:
    """The estimator `credit`."""
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
        losses.append(outer_at(trajectory)(trajectory.model).detach())
        trainings.append((trajectory, batches))
    for (trajectory, batches), advantage in zip(trainings, leave_one_out(torch.stack(losses).double()), strict=True):
        accumulate(trajectory, batches, _score_surrogates(policy, batches, advantage.item()))
    return [trajectory for trajectory, _ in trainings]


def _credit(trajectory: Trajectory) -> tuple[Sequence[MaskedBatch], list[Surrogate]]:
    batches, gradients = credits_over_window(trajectory, trajectory.objective)
    pairs = zip(batches, advantages(gradients), strict=True)
    return batches, [partial(credit_surrogate, mask=batch.mask, gradient=a) for batch, a in pairs]


def _relaxed(trajectory: Trajectory) -> tuple[Sequence[MaskedBatch], list[Surrogate]]:
    batches, gradients = credits_over_window(trajectory, SoftMask(partial(shown_if_masked, trajectory.policy)))
    parts = zip(batches, relaxed_parts([batch.mask for batch in batches], gradients), strict=True)
    return batches, [partial(relaxed_surrogate, mask=batch.mask, weights=w, hidden=h) for batch, (w, h) in parts]


def _score_surrogates(policy: MaskingPolicy, batches: Sequence[MaskedBatch], advantage: float) -> list[Surrogate]:
    """Of the masks of one training; times H, for what is accumulated is a mean over batches."""
    with torch.no_grad():
        rooms = [mask_room(policy.reconsider(batch)[0], batch, policy.masking) for batch in batches]
    derivatives = room_derivatives(rooms, [batch.keys for batch in batches if batch.keys is not None])
    scale = advantage * len(batches)

    def surrogate(batch: MaskedBatch, derivative: Tensor, p: Tensor) -> Tensor:
        return scale * (derivative * mask_room(p, batch, policy.masking)).sum()

    return [partial(surrogate, batch, d) for batch, d in zip(batches, derivatives, strict=True)]
