"""Credits of masked tokens under several outer gradients at one state of the model."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from policylearn.adapt.probe import ProbeLoss
from policylearn.credit.words import keys_of
from policylearn.inner.objectives import objective_of
from policylearn.inner.trajectory import Trajectory
from policylearn.masking import MaskedBatch
from policylearn.messages.watch import UNSEEN, Progress, Watch
from policylearn.metagrad.one_step import outer_direction, token_derivatives
from policylearn.models.model import InnerModel
from policylearn.models.parameters import carriers, is_embedding, owners
from policylearn.policy.policy import MaskingPolicy
from policylearn.problem import Problem

Gradients = dict[str, Tensor]
"""By parameter name."""
BACK = 4
"""Forward passes that the way back is worth: a chunk and then its layers once more, and twice the products."""


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
    """Go along a trajectory to the point before a step."""
    for _ in watch("training, steps", range(trajectory.step, step)):
        trajectory.take_step(next(trajectory.batches))


def outer_gradients(model: nn.Module, losses: Mapping[str, ProbeLoss], watch: Watch = UNSEEN) -> dict[str, Gradients]:
    """∇(outer loss) of every loss; losses on the same examples share a forward pass."""
    named, groups = {n: p for n, p in model.named_parameters() if p.requires_grad}, _same_examples(losses)
    found: dict[str, Gradients] = {}
    total = sum(len(losses[names[0]].picked) * (1 + BACK * len(names)) for names in groups)
    with watch.begin("outer gradient, passes of labelled texts", total) as progress:
        for names in groups:
            texts = len(losses[names[0]].picked)
            with _counting(model, progress, texts):
                x = losses[names[0]].features(model)
            for name in names:
                with _counting(model, progress, texts, BACK):
                    slopes = torch.autograd.grad(
                        losses[name].loss(x), list(named.values()), retain_graph=name != names[-1], allow_unused=True
                    )
                found[name] = {n: g for n, g in zip(named, slopes, strict=True) if g is not None}
    return found


@contextmanager
def _counting(model: nn.Module, progress: Progress, texts: int, cost: int = 1) -> Iterator[None]:
    """Counts texts that go through a model, there or, once more, on the way back, at so many passes each."""
    seen = 0

    def count(module: nn.Module, inputs: tuple) -> None:
        nonlocal seen
        seen += len(inputs[0])
        progress.advance(cost * len(inputs[0]))

    handle = model.register_forward_pre_hook(count)
    try:
        yield
    finally:
        handle.remove()
    progress.advance(cost * (texts - seen))  # what was kept goes through once only


def _same_examples(losses: Mapping[str, ProbeLoss]) -> list[list[str]]:
    groups: dict[bytes, list[str]] = {}
    for name, loss in losses.items():
        groups.setdefault(np.asarray(loss.picked).tobytes(), []).append(name)
    return list(groups.values())


def preconditioned(trajectory: Trajectory, gradients: Gradients) -> Gradients:
    """P ∇(outer loss), with AdamW's P of the moment: the engine's direction for the linear loss of this gradient."""

    def linear(model: nn.Module) -> Tensor:
        named = dict(model.named_parameters())
        return torch.stack([(g * named[name]).sum() for name, g in gradients.items()]).sum()

    return outer_direction(trajectory.model, trajectory.optimizer, trajectory.rate, linear, "all")  # type: ignore[arg-type]


def through(model: nn.Module, gradients: Gradients, parameters: str) -> Gradients:
    """The part of a gradient that flows through these parameters, see `carriers`."""
    open_ = carriers(model, parameters)
    return {name: g for name, g in gradients.items() if name in open_}


def group_cosines(model: InnerModel, a: Gradients, b: Gradients) -> dict[str, float]:
    """Cosine of two gradients in every group of parameters, and in all matrices together."""
    groups: dict[str, list[str]] = {}
    kinds = groups_of(model)
    for name, p in model.named_parameters():
        if name in a and name in b:
            for group in {kinds[name], "matrices" if p.ndim > 1 else "vectors"}:
                groups.setdefault(group, []).append(name)
    return {group: _cosine(a, b, names) for group, names in sorted(groups.items())}


def _cosine(a: Gradients, b: Gradients, names: Sequence[str]) -> float:
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


def _draws(rows: np.ndarray, size: int, draws: int, epoch: int) -> Iterator[tuple[np.ndarray, int]]:
    """The rows of every batch, and the number of the draw that masks it."""
    while True:
        for start in range(0, max(1, len(rows) - size + 1), size):
            yield from ((rows[start : start + size], draw) for draw in range(epoch * draws, (epoch + 1) * draws))
        epoch += 1


def credits_of(
    trajectory: Trajectory, batches: Iterable[MaskedBatch], directions: Sequence[Gradients]
) -> Iterator[Tokens]:
    """Credits of every batch: with E = -d · ∇CE_i the outer loss moves by E / M per unit of w_i, and credit is the
    opposite of that."""
    derivatives = partial(token_derivatives, trajectory.model, loss=trajectory.objective)
    for batch in batches:
        columns = [derivatives(d, batch) / batch.mask.sum() for d in directions]
        yield Tokens(keys_of(trajectory.policy, batch), torch.stack(columns, 1).double().cpu().numpy())


def joined(parts: Sequence[Tokens]) -> Tokens:
    """Tokens of several batches as those of one."""
    return Tokens(np.concatenate([p.keys for p in parts]), np.concatenate([p.credits for p in parts]))


def take(batches: Iterator[MaskedBatch], count: int) -> list[MaskedBatch]:
    """The next so many."""
    return list(islice(batches, count))
