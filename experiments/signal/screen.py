"""Part one of the study: one state of the model, the same masked texts for all, variants of the outer gradient."""

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from tasks import OWN_TEXTS, SMALL, config_of, numbers
from torch import Tensor
from torch.nn.functional import cross_entropy

from policylearn.adapt import ridge
from policylearn.adapt.probe import ProbeLoss
from policylearn.adapt.splits import Split, fold
from policylearn.arms.arms import RANDOM, arm_policy, initial_policy
from policylearn.credit.along import SEED
from policylearn.credit.analysis import A, B, Point
from policylearn.credit.credits import (
    NamedGradients,
    Tokens,
    credits_of,
    joined,
    masked_texts,
    preconditioned,
    take,
)
from policylearn.credit.halves import text_halves
from policylearn.credit.outer import outer_gradients
from policylearn.credit.reliability import outer_losses
from policylearn.credit.sums import advantage
from policylearn.inner.trajectory import Trajectory
from policylearn.models.parameters import carriers
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.protocols import Readout

SETTINGS, BATCHES = (*SMALL, "inner.batch_size=64", OWN_TEXTS.format("trec6")), 10
"""Overrides of the task's config, and MLM batches of each half."""
SHUFFLED = "shuffled 1"
Columns = dict[str, np.ndarray]
"""Credits [M] of one text half, by "variant/labels"."""


def fixed_outer_loss(
    support: Tensor, support_y: Tensor, query: Tensor, query_y: Tensor, readout: Readout
) -> ridge.ProbeFit:
    """Ridge strength and temperature at 1, wherever the optimum is."""
    x, q = ridge.standardise(support, query)
    targets = ridge.centred_targets(readout.targets(support_y))[0].to(x.dtype)
    scores = q @ ridge.ridge_coefficients(x, targets)(1.0)
    return ridge.ProbeFit(cross_entropy(scores, query_y), 0.0, 1.0, 1.0)


def parts_of(model: torch.nn.Module, direction: NamedGradients) -> dict[str, NamedGradients]:
    """Embeddings, lower and upper half of the layers' matrices, and vectors (norms and biases)."""
    named, layers = dict(model.named_parameters()), model.mlm.config.num_hidden_layers
    found: dict[str, NamedGradients] = {part: {} for part in ("embeddings", "lower", "upper", "vectors")}
    for name, d in direction.items():
        number = next((int(piece) for piece in name.split(".") if piece.isdigit()), None)
        part = "embeddings" if number is None else "lower" if number < layers / 2 else "upper"
        found["vectors" if named[name].ndim < 2 else part][name] = d
    return {part: d for part, d in found.items() if d}


def matrices(model: torch.nn.Module, gradients: NamedGradients) -> NamedGradients:
    named = dict(model.named_parameters())
    return {name: g for name, g in gradients.items() if named[name].ndim > 1}


def screen() -> Iterator[dict[str, Any]]:
    """Variants of the outer gradient at the first point of the trajectory, on the same masked texts of TREC-6."""
    problem = problem_of(config_of("trec6", *SETTINGS))
    trajectory = Trajectory.start(problem, initial_policy(problem), SEED)
    for _ in range(max(1, round(problem.config.inner.start * problem.config.inner.steps))):
        trajectory.take_step(next(trajectory.batches))
    directions = dict(screened_directions(trajectory, dict(with_others(screened_losses(problem)))))
    halves = [screened_credits(trajectory, half, directions) for half in (0, 1)]
    for variant, combine in COMBINED.items():
        yield {"variant": variant, **screened(problem, halves, combine)}


def screened_losses(problem: Problem) -> dict[str, ProbeLoss]:
    return {name: loss for name, loss in outer_losses(problem).items() if name in (A, B, SHUFFLED)}


def screened_directions(trajectory: Trajectory, losses: dict[str, ProbeLoss]) -> Iterator[tuple[str, NamedGradients]]:
    """Directions by "variant/labels"; parts of the parameters add up to whole ones later."""
    model = trajectory.model
    for name, raw in outer_gradients(model, losses, carriers(model, "all")).items():
        ready = preconditioned(trajectory, raw)
        variant, _, labels = name.rpartition("/")
        if variant:
            yield name, matrices(model, raw)
            continue
        yield from ((f"{part}/{labels}", d) for part, d in parts_of(model, raw).items() if labels != SHUFFLED)
        whole = matrices(model, ready)
        yield f"P embeddings/{labels}", parts_of(model, whole)["embeddings"]
        yield f"P layers/{labels}", {n: d for n, d in whole.items() if n not in parts_of(model, whole)["embeddings"]}
        if labels == SHUFFLED:
            yield f"matrices/{labels}", matrices(model, raw)
        else:
            yield f"P damped/{labels}", damped(trajectory, matrices(model, raw))


def with_others(losses: dict[str, ProbeLoss]) -> Iterator[tuple[str, ProbeLoss]]:
    """The losses, and those of A and B in another form; what is on the same examples shares a forward pass."""
    for name, loss in losses.items():
        yield name, loss
        if name in (A, B):
            given = (loss.problem, loss.picked, loss.y)
            halves = fold(loss.y.numpy(), 2, np.random.default_rng([SEED, 1]))
            yield f"one split/{name}", ProbeLoss(*given, [next(halves)])
            yield f"fixed/{name}", Fixed(*given, loss.splits)


class Fixed(ProbeLoss):
    """With ridge strength and temperature at 1, wherever their optimum is."""

    def fit(self, x: Tensor, split: Split) -> ridge.ProbeFit:
        with patch("policylearn.adapt.probe.probe_loss", fixed_outer_loss):
            return super().fit(x, split)


def damped(trajectory: Trajectory, raw: NamedGradients) -> NamedGradients:
    """Preconditioned by 1 / (√v̂ + its mean over the tensor): rows without MLM gradient are not blown up."""
    ones = {name: torch.ones_like(g) for name, g in raw.items()}
    roots = {name: 1 / p for name, p in preconditioned(trajectory, ones).items()}
    return {name: raw[name] / (root + root.mean()) for name, root in roots.items()}


def screened_credits(
    trajectory: Trajectory, half: int, directions: dict[str, NamedGradients]
) -> tuple[np.ndarray, Columns]:
    """Keys of the masked tokens of one text half, and their credits under every direction (shuffled: half B only)."""
    problem = trajectory.problem
    policy = arm_policy(problem, RANDOM)
    assert policy is not None
    rows = text_halves(problem, SEED)[half]
    names = [name for name in directions if half == 1 or not name.endswith(SHUFFLED)]
    batches = take(masked_texts(problem, policy, rows, SEED), BATCHES)
    tokens = joined(list(credits_of(trajectory, batches, [directions[name] for name in names])))
    return tokens.keys, dict(zip(names, tokens.credits.T, strict=True))


def summed(*parts: str) -> Callable[[Columns, str], np.ndarray]:
    """Sum of the parts there are: 0.0 for what has no control of its own."""

    def combine(columns: Columns, labels: str) -> np.ndarray:
        return np.sum([columns[f"{part}/{labels}"] for part in parts if f"{part}/{labels}" in columns], axis=0)

    return combine


MATRICES = summed("embeddings", "lower", "upper", "matrices")


def clipped(credits: np.ndarray) -> np.ndarray:
    """At three standard deviations."""
    return advantage(credits[:, None])[:, 0].clip(-3, 3)


COMBINED: dict[str, Callable[[Columns, str], np.ndarray]] = {
    "AdamW's preconditioner, matrices": summed("P embeddings", "P layers"),
    "AdamW's preconditioner, no embeddings": summed("P layers"),
    "AdamW's preconditioner, damped": summed("P damped"),
    "raw, matrices": MATRICES,
    "raw, all parameters": summed("embeddings", "lower", "upper", "vectors"),
    "raw, norms and biases alone": summed("vectors"),
    "raw, no embeddings": summed("lower", "upper"),
    "raw, embeddings alone": summed("embeddings"),
    "raw, upper half of the layers": summed("upper"),
    "raw, one support/query split": summed("one split"),
    "raw, ridge and temperature fixed": summed("fixed"),
    "raw, credits clipped at 3 sd": lambda columns, labels: clipped(MATRICES(columns, labels)),
    "raw, signs of credits": lambda columns, labels: np.sign(advantage(MATRICES(columns, labels)[:, None])[:, 0]),
}


def screened(problem: Problem, halves: list[tuple[np.ndarray, Columns]], combine: Callable) -> dict[str, Any]:
    """The analysis of one variant."""
    tokens = []
    for (keys, columns), names in zip(halves, ((A, B), (A, B, SHUFFLED)), strict=True):
        known = [combine(columns, name) for name in names]
        tokens.append(Tokens(keys, np.stack([c if np.ndim(c) else np.zeros(len(keys)) for c in known], 1)))
    return numbers([Point(0, [A, B, SHUFFLED], (tokens[0], tokens[1]), np.zeros((0, 2)), {})], problem)
