"""Credits of masked tokens under several outer gradients at one state of the model."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from policylearn.credit.outer import AT_ONCE, NamedGradients
from policylearn.credit.words import keys_of
from policylearn.data.tokens import chunks
from policylearn.inner.objectives import Objective, objective_of
from policylearn.inner.trajectory import Trajectory
from policylearn.masking import MaskedBatch
from policylearn.masking.batch import beside
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.metagrad.one_step import outer_direction, token_derivatives
from policylearn.models.chunks import neighbours
from policylearn.models.device import give_memory_back
from policylearn.models.model import InnerModel
from policylearn.models.parameters import carriers, is_embedding, owners
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem

GROUP = 8
"""Batches that are credited together, a text beside others of its length, whatever batches they are of."""


@dataclass(frozen=True)
class Tokens:
    """Masked tokens of many batches.

    Attributes:
        keys: [M] int64, the word each is in.
        credits: [M, D], one column per direction.
    """

    keys: np.ndarray
    credits: np.ndarray


def groups_of(model: InnerModel) -> dict[str, str]:
    """What kind of parameter each is, by name."""
    inside = {id(p) for p in model.mlm.base_model.parameters()}
    return {name: _group(name, p, owner, id(p) in inside) for name, p, owner in owners(model)}


def _group(name: str, p: Tensor, owner: nn.Module, inside: bool) -> str:
    if p.ndim < 2:
        return "norms" if "norm" in type(owner).__name__.lower() else "biases"
    if is_embedding(owner):
        return "embeddings"
    if not inside:
        return "head"
    return "attention" if "attention" in name.lower() or "attn" in name else "ffn"


def train_to(trajectory: Trajectory, step: int, watch: Watch = UNSEEN) -> None:
    """Go along a trajectory to the point before a step, and keep no gradient of the last one."""
    for _ in watch("training, steps", range(trajectory.step, step)):
        trajectory.take_step(next(trajectory.batches))
    trajectory.optimizer.zero_grad()
    give_memory_back()


def preconditioned(trajectory: Trajectory, gradients: NamedGradients) -> NamedGradients:
    """P ∇(outer loss), with AdamW's P of the moment: the engine's direction for the linear loss of this gradient."""

    def linear(model: nn.Module) -> Tensor:
        named = dict(model.named_parameters())
        return torch.stack([(g * named[name]).sum() for name, g in gradients.items()]).sum()

    return outer_direction(trajectory.model, trajectory.optimizer, trajectory.rate, linear, "all")  # type: ignore[arg-type]


def through(model: nn.Module, gradients: NamedGradients, parameters: str) -> NamedGradients:
    """The part of a gradient that flows through these parameters, see `carriers`."""
    open_ = carriers(model, parameters)
    return {name: g for name, g in gradients.items() if name in open_}


def group_cosines(model: InnerModel, a: NamedGradients, b: NamedGradients) -> dict[str, float]:
    """Cosine of two gradients in every group of parameters, and in all matrices together."""
    groups: dict[str, list[str]] = {}
    kinds = groups_of(model)
    for name, p in model.named_parameters():
        if name in a and name in b:
            for group in {kinds[name], "matrices" if p.ndim > 1 else "vectors"}:
                groups.setdefault(group, []).append(name)
    return {group: _cosine(a, b, names) for group, names in sorted(groups.items())}


def _cosine(a: NamedGradients, b: NamedGradients, names: Sequence[str]) -> float:
    dot, aa, bb = (sum((x[n] * y[n]).sum().item() for n in names) for x, y in ((a, b), (a, a), (b, b)))
    return dot / (aa * bb) ** 0.5 if aa * bb > 0 else 0.0


def masked_texts(
    problem: Problem, policy: MaskingPolicy, rows: np.ndarray, seed: int, epoch: int = 0, first: int = 0
) -> Iterator[MaskedBatch]:
    """Batches of the given rows, again and again with other masks, from the one with number `first` on. `explore` masks
    a batch of texts as often as its draws need before it goes on to the next."""
    size = problem.config.credit.batch_size or problem.config.inner.batch_size
    draws = policy.masking.draws if policy.masking.design == "explore" else 1
    objective = objective_of(problem)
    for picked, draw in islice(_draws(rows, size, draws, epoch), first, None):
        text = problem.domain.batch(picked, problem.pad_id)
        yield objective.draw(policy, *text, seed, draw)


def _draws(rows: np.ndarray, size: int, draws: int, epoch: int) -> Iterator[tuple[np.ndarray, Tensor]]:
    """The rows of every batch, and the number of the draw that masks each: all rows in turn, a batch going on from the
    end of one pass to the beginning of the next; of fewer rows than a batch has, all.

    >>> [(picked.tolist(), draw.tolist()) for picked, draw in islice(_draws(np.arange(3), 2, 1, 0), 3)]
    [([0, 1], [0, 0]), ([2, 0], [0, 1]), ([1, 2], [1, 1])]
    """
    queue = passes = rows[:0]
    while True:
        while len(queue) < min(size, len(rows)):
            queue, passes = np.concatenate([queue, rows]), np.concatenate([passes, np.full(len(rows), epoch)])
            epoch += 1
        picked, of = queue[:size], torch.from_numpy(passes[:size] * draws)
        yield from ((picked, of + draw) for draw in range(draws))
        queue, passes = queue[size:], passes[size:]


def credits_of(
    trajectory: Trajectory, batches: Iterable[MaskedBatch], directions: Sequence[NamedGradients]
) -> Iterator[Tokens]:
    """Credits of every batch: with E = -d · ∇CE_i the outer loss moves by E / M per unit of w_i, and credit is the
    opposite of that. Texts of `GROUP` batches go through the model in the order of their lengths, so that next to no
    padding does; M is that of their own batch.

    Raises:
        FloatingPointError: one is NaN or infinite, which in a mean over tokens would pass for nothing.
    """
    for group in chunks(batches, GROUP):
        along = derivatives(trajectory, group, directions)
        for batch, found in zip(group, along, strict=True):
            if not torch.isfinite(found).all():
                where = f"at step {trajectory.step} of the training"
                raise FloatingPointError(f"credits grow beyond all numbers {where}: lower inner.learning_rate")
            yield Tokens(keys_of(trajectory.policy, batch), found.numpy())
        give_memory_back()


def derivatives(
    trajectory: Trajectory, batches: Sequence[MaskedBatch], directions: Sequence[NamedGradients]
) -> list[Tensor]:
    """d · ∇(∂ℓ/∂x_i) of the masked tokens of every batch, [M, directions], where ℓ is the loss of their own batch.

    A loss is that of its parts, ℓ = Σ share · ℓ(part), whichever rows these are; so row by row its shares tell what ∂ℓ
    of one set of rows is worth in another.
    """
    rows = beside(batches, trajectory.problem.pad_id)
    shares = shares_of(trajectory.objective, rows)
    owner = np.repeat(np.arange(len(batches)), [len(batch.labels) for batch in batches])
    own = np.bincount(owner, shares).clip(min=np.finfo(float).tiny)[owner]  # of the batch that a row is of
    lengths = rows.real.sum(1).numpy()
    order = lengths.argsort(kind="stable")
    found = torch.zeros(*rows.labels.shape, len(directions), dtype=torch.float64)
    for cut in neighbours(lengths[order].tolist(), AT_ONCE):
        picked = order[cut]
        part = rows.rows(picked).upto(int(lengths[picked[-1]]))
        if part.mask.any():
            along = [token_derivatives(trajectory.model, d, part, trajectory.objective) for d in directions]
            at, places = part.mask.nonzero(as_tuple=True)
            worth = torch.from_numpy(shares[picked].sum() / own[picked])[at]
            found[torch.from_numpy(picked)[at], places] = torch.stack(along, 1).double().cpu() * worth[:, None]
    parts = found.split([len(batch.labels) for batch in batches])
    return [part[:, : batch.mask.shape[1]][batch.mask] for part, batch in zip(parts, batches, strict=True)]


def shares_of(objective: Objective, rows: MaskedBatch) -> np.ndarray:
    """Of the loss of all rows, the share of each by itself, [B]: ℓ = Σ share · ℓ(row)."""
    x = objective.inputs(rows, torch.zeros(()))
    return np.array([share for _, _, share in objective.parts(rows, x, 1)])


def joined(parts: Sequence[Tokens]) -> Tokens:
    """Tokens of several batches as those of one."""
    return Tokens(np.concatenate([p.keys for p in parts]), np.concatenate([p.credits for p in parts]))


def take(batches: Iterator[MaskedBatch], count: int) -> list[MaskedBatch]:
    """The next so many."""
    return list(islice(batches, count))
