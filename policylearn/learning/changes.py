"""Random changes of a policy, and what becomes of models that are trained to the end under them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policylearn.adapt.outer import dev_score, outer_problem
from policylearn.learning.rollout import train_once
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem

Change = dict[str, Tensor]
"""By name of a tensor of φ, what is added to it."""
LOGITS = "network.logits"
"""Of φ, where the policy's network is a table: a logit for each type; of a kernel, one for each place beside it."""
SIGNS = (1.0, -1.0)
"""A change is made both ways."""


@dataclass(frozen=True)
class Outcome:
    """What became of one model.

    Attributes:
        loss: the outer loss at θ_H, mean over draws of labelled training examples.
        score: the dev score.
    """

    loss: float
    score: float


def random_change(policy: MaskingPolicy, types: Tensor, strength: float, draw: torch.Generator) -> Change:
    """A random direction of φ that moves logits by `strength`: of a table, or the middle of a kernel, exactly so, up or
    down by a coin for each type; of a network's last layer such that this is their root mean square over the types.

    Args:
        policy: π_φ.
        types: [U] types that occur in the domain; the logits of others are nobody's.
        strength: how large.
        draw: what it is drawn by.

    Raises:
        ValueError: there is no φ, or it is not known what of it moves logits.
    """
    if policy.network is None:
        raise ValueError('policy.network = "none" leaves nothing to change: set it to "table"')
    change = {name: torch.zeros_like(p) for name, p in policy.learned().items()}
    if (logits := change.get(LOGITS)) is not None:
        own = logits if logits.ndim == 1 else logits[len(logits) // 2]  # of a kernel, what a type says of its own place
        own[types] = strength * (torch.randint(2, (len(types),), generator=draw) * 2 - 1).to(own)
        return change
    if (name := "network.out.weight") not in change:
        raise ValueError(
            f"policy.network {policy.config.network!r} has neither logits nor a last layer called out: what moves its "
            'logits is not known; set it to "table"'
        )
    change[name] = torch.randn(change[name].shape, generator=draw)
    moved = _changed_logits(policy, change, types) - _changed_logits(policy, {}, types)
    change[name] *= strength / moved.square().mean().sqrt()
    return change


def _changed_logits(policy: MaskingPolicy, change: Change, types: Tensor) -> Tensor:
    """Of every type by itself, [U]."""
    phi, text = {name: value.clone() for name, value in policy.learned().items()}, types[:, None]
    policy.load_learned(apply_change(phi, change, 1.0))
    with torch.no_grad():
        logits = policy(text, torch.ones_like(text, dtype=torch.bool))[:, 0]
    policy.load_learned(phi)
    return logits


def apply_change(phi: Mapping[str, Tensor], change: Change, sign: float) -> dict[str, Tensor]:
    """φ ± δ.

    >>> apply_change({"a": torch.ones(2)}, {"a": torch.ones(2)}, -1.0)
    {'a': tensor([0., 0.])}
    """
    return {name: value + sign * change[name] if name in change else value.clone() for name, value in phi.items()}


def train_to_the_end(
    problem: Problem, policy: MaskingPolicy, phi: dict[str, Tensor], seed: int, labelled_seed: int, draws: int
) -> Outcome:
    """H steps of a fresh model, then the outer loss.

    Args:
        problem: data and models.
        policy: whose φ is set.
        phi: it.
        seed: of the model, the data order and the masks.
        labelled_seed, draws: by what, and how often, support and query examples are drawn for the loss at the end.

    Raises:
        FloatingPointError: a loss is NaN or infinite.
    """
    policy.load_learned(phi)
    (trained,) = train_once(problem, policy, seed)
    model = trained.model
    losses = [
        float(outer_problem(problem, [labelled_seed, draw], lambda **_: None)(model).detach()) for draw in range(draws)
    ]
    return Outcome(float(np.mean(losses)), dev_score(problem, model))


def halved_differences(above: Sequence[Sequence[float]], below: Sequence[Sequence[float]]) -> np.ndarray:
    """(L(φ + δ) - L(φ - δ)) / 2 by change and seed, [M, S]."""
    return (np.asarray(above, dtype=float) - np.asarray(below, dtype=float)) / 2
