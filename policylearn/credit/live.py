"""Masks by the credits of the moment: what a policy is an average of, not averaged.

Every few steps of a training the direction in which a token helps the task is found anew from the labels, at the state
that the model is in by then; all tokens of a batch are credited in it, and its masks follow these very credits. There
is nothing to hand over: such masks are of one training, which costs many times what it does under a policy. So does
GREATS (Wang et al., NeurIPS 2024) choose the rows of a batch while it trains; here tokens are chosen.
"""

import torch
from torch import Tensor

from policylearn.config import PolicyConfig
from policylearn.credit.along import Viewpoint
from policylearn.credit.credits import credits_of
from policylearn.credit.domain import ALL, labelled_loss
from policylearn.credit.outer import NamedGradients
from policylearn.inner.batches import Columns
from policylearn.inner.trajectory import Trajectory
from policylearn.masking import TextField
from policylearn.messages.watch import UNSEEN
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import Scores
from policylearn.problems.problem import Problem

LIVE = "live"
"""The arm, and the scorer of its policy, whose scores come with a text."""
DRAWS = 6
"""Disjoint masks that cover a text."""


def live_policy(problem: Problem, field: TextField, strength: float) -> MaskingPolicy:
    """The policy that goes by the scores which come with a text, in a column; uniform where there are none.

    Args:
        problem: the task.
        field: what may be masked, and how.
        strength: a token whose credit is one standard deviation above the mean of its batch is e^strength times as
            likely as a mean one.

    Raises:
        ValueError: the task has no classes, numbers or tags to differentiate.
    """
    if problem.kind.readout is None:
        raise ValueError(f"arm {LIVE!r} differentiates a probe, and {problem.kind.name} have none: take it out")
    config, nothing = PolicyConfig(prior={LIVE: strength}, network="none"), torch.zeros(0, dtype=torch.int64)
    return MaskingPolicy(config, {LIVE: Scores(torch.zeros(field.size))}, nothing, torch.zeros(0, 0), field)


def follow_credits(trajectory: Trajectory, every: int) -> Columns:
    """What tells the credits of the tokens of a batch, at the state that a training is in when it is asked.

    Args:
        trajectory: of a policy that is uniform without scores. Its model is trained meanwhile.
        every: steps between two looks at the labels. There is none in so many first ones, whose optimiser has yet to
            see the size of gradients.

    Returns:
        a function, to be asked before every step, of ids [B, T] and real [B, T] → the column `LIVE`, [B, T] float32:
        credits in standard deviations from the mean of the batch, NaN where nothing may be masked; empty in the first
        steps.
    """
    loss, direction = labelled_loss(trajectory.problem), dict[str, NamedGradients]()
    cover = trajectory.policy.under(design="explore", draws=DRAWS, rate=1 / DRAWS)

    def columns(ids: Tensor, real: Tensor) -> dict[str, Tensor]:
        if trajectory.step < every:
            return {}
        if trajectory.step % every == 0:
            direction[ALL] = Viewpoint(trajectory, {ALL: loss}, UNSEEN).directions[ALL]
            trajectory.optimizer.zero_grad()
        masked = [trajectory.objective.draw(cover, ids, real, trajectory.seed, draw) for draw in range(DRAWS)]
        found = torch.full(ids.shape, torch.nan, dtype=torch.float64)
        for one, tokens in zip(masked, credits_of(trajectory, masked, [direction[ALL]]), strict=True):
            found[one.mask] = torch.from_numpy(tokens.credits[:, 0])
        known = found[~found.isnan()]
        return {LIVE: ((found - known.mean()) / known.std().clamp(min=1e-30)).float()}

    return columns
