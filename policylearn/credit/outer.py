"""The outer gradient of any number of labelled examples, part by part.

Let x be the features of all of them under θ, and L(x) the loss of ridge probes. Then

    ∇_θ L  =  Σ_parts (∂x_part/∂θ)ᵀ · ∂L/∂x_part,

so features come first, which needs no graph; from all of them ∂L/∂x; and then every part goes through the model once
more and back. Memory is that of a part, and parts may be computed anywhere: what they say is added up in their order.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from policylearn.adapt.probe import ProbeLoss
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.models.chunks import layers_again, neighbours
from policylearn.models.device import give_memory_back
from policylearn.tasks.labelled import Examples

NamedGradients = dict[str, Tensor]
"""By parameter name."""
PART = 8_192
"""Tokens of a part: enough work for a worker to be worth sending a gradient for, few enough for many workers."""
AT_ONCE = 1_024
"""Tokens run through the model at once, of which all is kept for the way back: half a MiB of each, of a model of BERT's
size. On a CPU more of them take no less time each, for they leave its caches."""
WIDE = 256
"""Length of a row from which on its attention, which grows with the square, counts for more than the rest."""
LONG = 512
"""Length from which on a row's layers are computed again on the way back, one at a time, and not kept."""
BACK = 3
"""Forward passes that the way back is worth: one more, and twice the products."""


def parts_of(loss: ProbeLoss) -> list[np.ndarray]:
    """Positions among the examples of a loss, cut into neighbours in length with so many tokens each."""
    lengths = _lengths(loss)
    order = lengths.argsort(kind="stable")
    return [order[cut] for cut in neighbours(lengths[order].tolist(), PART)]


def features_of(model: nn.Module, loss: ProbeLoss, part: np.ndarray) -> Tensor:
    """Features of a part, row by row, [len(part), d] or of all their words."""
    train, picked = _train(loss), np.asarray(loss.picked)[part]
    with torch.no_grad():
        return torch.cat(
            [train.outputs(model, picked[cut], loss.problem.pad_id) for cut in _cuts(_lengths(loss)[part])]
        )


def slopes_of(loss: ProbeLoss, parts: Sequence[np.ndarray], features: Sequence[Tensor]) -> list[Tensor]:
    """∂L/∂x of every part, from the features of all."""
    places = [torch.as_tensor(_train(loss).within(loss.picked, part)) for part in parts]
    back = torch.cat(places).argsort()
    slopes = loss.slopes(torch.cat([*features])[back])
    return [slopes[place] for place in places]


def pulled_back(
    model: nn.Module, loss: ProbeLoss, part: np.ndarray, slopes: Sequence[Tensor], names: frozenset[str]
) -> list[NamedGradients]:
    """(∂x/∂θ)ᵀ · slope of a part, for every given slope, in the parameters of these names that it reaches."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad and name in names}
    train, picked, lengths = _train(loss), np.asarray(loss.picked)[part], _lengths(loss)[part]
    found: list[NamedGradients] = [{} for _ in slopes]
    for cut in _cuts(lengths):
        places = torch.as_tensor(train.within(picked, np.arange(cut.start, cut.stop)))
        with layers_again(model) if lengths[cut][-1] > LONG else nullcontext():
            x = train.outputs(model, picked[cut], loss.problem.pad_id)
            for slope, total in zip(slopes, found, strict=True):
                along, keep = slope[places].to(x), slope is not slopes[-1]
                gradients = torch.autograd.grad(x, list(named.values()), along, keep, allow_unused=True)
                add(total, {name: g for name, g in zip(named, gradients, strict=True) if g is not None})
    give_memory_back()
    return found


def add(total: NamedGradients, more: NamedGradients) -> None:
    """Add to a sum of gradients, in place."""
    for name, gradient in more.items():
        total[name] = total[name].add_(gradient) if name in total else gradient


def outer_gradients(
    model: nn.Module, losses: Mapping[str, ProbeLoss], names: frozenset[str], watch: Watch = UNSEEN
) -> dict[str, NamedGradients]:
    """∇(outer loss) of every loss, in the parameters of these names; losses on the same examples share what goes
    forward."""
    groups, found = _same_examples(losses), {name: NamedGradients() for name in losses}
    total = sum(len(losses[group[0]].picked) * (1 + BACK * len(group)) for group in groups)
    with watch.begin("outer gradient, passes of labelled texts", total) as progress:
        for group in groups:
            first = losses[group[0]]
            parts, features = parts_of(first), []
            for part in parts:
                features.append(features_of(model, first, part))
                progress.advance(len(part))
            slopes = [slopes_of(losses[name], parts, features) for name in group]
            for part, *of_part in zip(parts, *slopes, strict=True):
                for name, pulled in zip(group, pulled_back(model, first, part, of_part, names), strict=True):
                    add(found[name], pulled)
                progress.advance(BACK * len(group) * len(part))
    return found


def _train(loss: ProbeLoss) -> Examples:
    return loss.problem.examples("train")


def _cuts(lengths: np.ndarray) -> list[slice]:
    """What of a part goes through the model at once."""
    return neighbours((lengths * (1 + lengths / WIDE)).tolist(), AT_ONCE)


def _lengths(loss: ProbeLoss) -> np.ndarray:
    return np.asarray(_train(loss).rows.lengths(loss.picked))


def _same_examples(losses: Mapping[str, ProbeLoss]) -> list[list[str]]:
    groups: dict[bytes, list[str]] = {}
    for name, loss in losses.items():
        groups.setdefault(np.asarray(loss.picked).tobytes(), []).append(name)
    return list(groups.values())
