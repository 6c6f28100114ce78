"""One step of the policy, in functions of plain values: from the gradients of a round's rollouts to the next φ."""

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
from policylearn.runs.state import select_prefix


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


def policy_optimizer(policy: MaskingPolicy, config: LearnConfig) -> torch.optim.Adam:
    """Adam on φ; how far scorers are trusted, which is a factor, moves in smaller steps."""
    others = [p for p in policy.parameters() if p.requires_grad and p is not policy.trust]
    groups: list[dict[str, Any]] = [
        {"params": others, "eps": config.eps},
        {"params": [policy.trust], "lr": config.trust_rate},
    ]
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
    policy.load_learned(select_prefix("phi.", tensors))
    for name, p in policy.named_parameters():
        if moments := select_prefix(f"adam.{name}.", tensors):
            optimizer.state[p] = {key: value.clone() for key, value in moments.items()}
