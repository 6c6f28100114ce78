"""Designs on one row of n tokens, written out: every random order, every interval of starts."""

from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pieces:
    """All that can be drawn.

    Attributes:
        chance: [R] probabilities.
        draws: [R, K] the masks drawn, as numbers of binary digits (first token first).
        score: [R, n] ∂ log P(masks | order) / ∂p.
    """

    chance: Tensor
    draws: Tensor
    score: Tensor


def codes(masks: Tensor) -> Tensor:
    """Masks [..., n] as integers."""
    return (masks.long() * 2 ** torch.arange(masks.shape[-1] - 1, -1, -1)).sum(-1)


def independent(p: Tensor) -> Pieces:
    """One coin per token."""
    n = len(p)
    masks = (torch.arange(2**n)[:, None] >> torch.arange(n - 1, -1, -1)) % 2 == 1
    score = torch.where(masks, 1 / p, -1 / (1 - p))
    return Pieces(torch.where(masks, p, 1 - p).prod(1), codes(masks)[:, None], score)


def systematic(p: Tensor, draws: int = 1) -> Pieces:
    """`draws` evenly spaced systematic draws from one start: for each order, the start is cut where a mask changes."""
    n, unit = len(p), 1 / draws
    orders = torch.tensor(list(permutations(range(n))))
    rows = orders.repeat_interleave(n + 2, 0)  # n + 1 ends in (0, Σp], one more interval than ends
    own = p.expand(len(rows), n).clone().requires_grad_()
    ends = own.gather(1, rows).cumsum(1)
    cuts = torch.cat([torch.zeros(len(rows), 1), (-ends) % unit, torch.full((len(rows), 1), unit)], 1).sort(1).values
    which = torch.arange(len(rows))[:, None] % (n + 2)
    low, high = (cuts.gather(1, (which + by).clamp(max=n + 1)) for by in (0, 1))
    length = (high - low)[:, 0]
    (slope,) = torch.autograd.grad(length.sum(), own)
    kept = length.detach() > 1e-12
    start = ((low + high) / 2).detach() + unit * torch.arange(draws)
    ticks = (ends.detach()[:, None] + start[:, :, None]).floor().diff(dim=2, prepend=torch.zeros(len(rows), draws, 1))
    masks = torch.zeros(ticks.shape).scatter(2, rows[:, None].expand_as(ticks), ticks)
    chance = length.detach() * draws / len(orders)
    return Pieces(chance[kept], codes(masks)[kept], (slope / length.detach()[:, None])[kept])
