"""The pieces of the outer loop, each a function of plain values: average gradients, step φ, keep the best."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from policylearn.config import LearnConfig
from policylearn.learning.rollout import PolicyGradient
from policylearn.policy.policy import MaskingPolicy
from policylearn.runs.state import OuterState

DEV_ROUNDS = 3
"""A policy is chosen by its dev score averaged over this many rounds: one round's few models are noisy."""


def mean_gradient(results: Sequence[PolicyGradient]) -> dict[str, Tensor]:
    """Average of the rollouts' gradients, summed in the order given: that of rollouts, not of arrival."""
    names = results[0].gradient
    return {name: torch.stack([r.gradient[name] for r in results]).mean(0) for name in names}


def agreement(results: Sequence[PolicyGradient]) -> float | None:
    """Mean cosine between the gradients of two rollouts: 1 all signal, 0 all noise; None for one rollout."""
    flat = [torch.cat([g.flatten() for g in r.gradient.values()]) for r in results if r.gradient]
    if len(flat) < 2:
        return None
    return float(np.mean([cosine_similarity(a, b, dim=0).item() for a, b in combinations(flat, 2)]))


def round_record(
    number: int, results: Sequence[PolicyGradient], baselines: dict[str, float], rate: float
) -> dict[str, Any]:
    """One line of metrics.jsonl: means over the rollouts of a round."""
    names = results[0].metrics
    means = {name: float(np.mean([r.metrics[name] for r in results])) for name in names}
    norm = torch.stack([g.square().sum() for g in mean_gradient(results).values()] or [torch.zeros(())]).sum()
    return {
        "round": number,
        **means,
        "dev_scores": [r.metrics["dev"] for r in results],
        "baselines": baselines,
        "rate": rate,
        "gradient_norm": norm.sqrt().item(),
        "reliability": agreement(results),
    }


def smoothed_dev(history: Sequence[dict[str, Any]]) -> float:
    """Dev score of the newest round, averaged with the rounds before it."""
    return float(np.mean([record["dev"] for record in history[-DEV_ROUNDS:]]))


def out_of_patience(config: LearnConfig, state: OuterState) -> bool:
    """Whether `patience` rounds have gone by without a better dev score."""
    return config.patience is not None and state.round - state.numbers.get("best_round", 0) > config.patience


def make_outer_optimizer(policy: MaskingPolicy, config: LearnConfig) -> torch.optim.Adam:
    """Adam on φ; how far scorers are trusted, which is a factor, moves in smaller steps."""
    others = [p for p in policy.parameters() if p.requires_grad and p is not policy.trust]
    groups: list[dict[str, Any]] = [{"params": others}, {"params": [policy.trust], "lr": config.trust_rate}]
    return torch.optim.Adam(groups, lr=config.learning_rate)


def apply_gradient(policy: MaskingPolicy, optimizer: torch.optim.Optimizer, gradient: dict[str, Tensor]) -> None:
    """One step of φ, in place."""
    for name, p in policy.named_parameters():
        if p.requires_grad:
            p.grad = gradient[name].clone()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def snapshot(policy: MaskingPolicy, optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    """φ and Adam's moments as named tensors."""
    tensors = {f"phi.{name}": value.clone() for name, value in policy.learned().items()}
    for name, p in policy.named_parameters():
        for key, value in optimizer.state.get(p, {}).items():
            tensors[f"adam.{name}.{key}"] = value.detach().clone()
    return tensors


def restore(policy: MaskingPolicy, optimizer: torch.optim.Adam, tensors: dict[str, Tensor]) -> None:
    """Undo `snapshot`, in place."""
    policy.load_learned(under("phi.", tensors))
    for name, p in policy.named_parameters():
        if moments := under(f"adam.{name}.", tensors):
            optimizer.state[p] = {key: value.clone() for key, value in moments.items()}


def keep_best(phi: dict[str, Tensor], state: OuterState) -> None:
    """Remember the φ that the newest round was run with if that has the best smoothed dev score so far."""
    dev = smoothed_dev(state.history)
    if dev > state.numbers.get("best_dev", -np.inf):
        state.numbers |= {"best_dev": dev, "best_round": state.history[-1]["round"]}
        state.best = {name: value.clone() for name, value in phi.items()}


def kept_the_prior(config: LearnConfig, state: OuterState) -> bool:
    """Whether no round was better on dev than those the prior was run in: the first, and as many more as φ lags."""
    return state.numbers.get("best_round", 0) <= (config.lag if config.method == "meta" else 0)


Versions = dict[int, dict[str, Tensor]]
"""φ by the number of rounds it has learned from."""


def add_version(versions: Versions, number: int, phi: dict[str, Tensor], lag: int) -> Versions:
    """With a copy of the newest φ, and without those that no round to come is run with.

    >>> phi = {"logits": torch.zeros(2)}
    >>> list(add_version({2: phi, 3: phi}, 4, phi, lag=1))
    [3, 4]
    """
    newest = {name: value.clone() for name, value in phi.items()}
    return {n: old for n, old in versions.items() if n >= number - lag} | {number: newest}


def version_of(versions: Versions, number: int, lag: int) -> dict[str, Tensor]:
    """The φ that round `number` is run with: what was learned by then from all rounds but the last `lag`."""
    return versions[max(0, number - lag)]


def older_versions(versions: Versions) -> dict[str, Tensor]:
    """All but the newest as named tensors."""
    newest = max(versions)
    return {f"past.{n}.{name}": value for n, phi in versions.items() if n != newest for name, value in phi.items()}


def recalled_versions(tensors: dict[str, Tensor]) -> Versions:
    """Undo `older_versions`."""
    numbers = {int(name.split(".")[1]) for name in tensors if name.startswith("past.")}
    return {n: under(f"past.{n}.", tensors) for n in sorted(numbers)}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
