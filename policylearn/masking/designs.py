"""Sampling designs: from inclusion probabilities p to a mask whose true inclusion probabilities are p.

The names are those of survey sampling (Särndal, Swensson & Wretman, *Model Assisted Survey Sampling*,
1992). All take p [B, T] and keys [B] and return boolean masks [B, T]; where p is 0 nothing is drawn. What is no
probability raises ValueError.
"""

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from policylearn.masking.keys import Stream, numpy_can_read, random_bits, stream_keys, uniforms

DesignName = Literal["systematic", "independent", "explore"]
ROUNDING = 1e-6
"""By which a sum of parts may exceed the probability 1."""


def systematic(p: Tensor, keys: Tensor, index: Tensor, offset: float | Tensor = 0.0) -> Tensor:
    """A draw of fixed size: lay the p_i end to end in random order, mark every whole number after a
    random start (Madow, 1949).

    The size is ⌊Σp⌋ or ⌈Σp⌉, and for a given key the same for every p of the same sum, so that arms
    of an experiment mask equally many tokens. `offset` moves the start round the unit circle.

    Args:
        p: [B, T] inclusion probabilities in [0, 1].
        keys: [B] of `example_keys`.
        index: [B, T] of `positions`.
        offset: added to the random start, modulo 1; [B, 1] if there is one for each row.
    """
    _check_p(p)
    order, start = random_order(keys, index), random_start(keys, index, offset)
    ticks = laid_end_to_end(p.detach(), order).add_(start).floor_()
    crossed = ticks.diff(dim=1, prepend=torch.zeros_like(start)).bool()
    return torch.empty_like(crossed).scatter_(1, order, crossed)


def laid_end_to_end(p: Tensor, order: Tensor) -> Tensor:
    """Where each p_i ends when they are laid out in this order, [B, T] float64."""
    ends = p.double().gather(1, order).cumsum(1)
    # Rounding the total keeps 3 from becoming 2.9999999: sizes must not depend on the last bit.
    total = ends[:, -1:].detach()
    return ends * (total.round(decimals=6) / total.clamp(min=1e-9))


def random_start(keys: Tensor, index: Tensor, offset: float | Tensor = 0.0) -> Tensor:
    """Where the first whole number stands before the first p_i, [B, 1], uniform in [0, 1)."""
    return (uniforms(keys, torch.zeros_like(index[:, :1]), Stream.START) + offset) % 1.0


def random_order(keys: Tensor, index: Tensor) -> Tensor:
    """A random permutation of every row's positions, [B, T] int64; which of two positions comes first depends on
    nothing else in the row.

    Positions are sorted by 16 random bits. The few that share all 16 stay together, in the order of the text; that
    moves no inclusion probability, and chance puts any two of them together once in 65,536 draws. What is gained is
    a sort in linear time.
    """
    bits = random_bits(stream_keys(keys, Stream.ORDER)[0, :, None], index)
    if not numpy_can_read(bits):
        return (bits >> 48).bitwise_and_(0xFFFF).sort(dim=1, stable=True).indices
    # NumPy's stable sort of 16-bit integers is a radix sort, several times faster than torch's on a CPU.
    upper = (bits.numpy().view(np.uint64) >> np.uint64(48)).astype(np.uint16)
    return torch.from_numpy(np.argsort(upper, 1, kind="stable"))


def independent(p: Tensor, keys: Tensor, index: Tensor) -> Tensor:
    """One coin per position (Bernoulli, or Poisson, sampling): simple, but of random size."""
    _check_p(p)
    return uniforms(keys, index, Stream.INCLUDE) < p


def explore(p: Tensor, keys: Tensor, index: Tensor, draw: int | Tensor, draws: int) -> Tensor:
    """Draw number `draw` of `draws` evenly spaced systematic draws (Fully-Explored masking, Zheng et
    al., 2020, when p is constant).

    With equal p and draws · p = 1 the masks are disjoint and cover every position; with unequal p each
    position is in ⌊draws · p_i⌋ or ⌈draws · p_i⌉ of them. All draws must be given the same keys. `draw` may be [B].

    Two draws are a mask and its complement (as in CMLM, arXiv 2106.02327) that keeps to the budget: no position with
    p_i ≤ 1/2 is in both, none with p_i ≥ 1/2 in neither; where all p_i = 1/2, one is what the other is not. The literal
    complement of a mask at rate ρ has rate 1 - ρ and inclusion probabilities 1 - p.
    """
    return systematic(p, keys, index, offset=_turn(draw, draws))


def _turn(draw: int | Tensor, draws: int) -> float | Tensor:
    """How far round the unit circle a draw begins; [B, 1] for draws [B]."""
    if draws < 1:
        raise ValueError(f"draws {draws} must be at least 1: as many as there are masks of a text")
    return (draw % draws).double()[:, None] / draws if isinstance(draw, Tensor) else (draw % draws) / draws


def draw_mask(
    design: DesignName, p: Tensor, keys: Tensor, index: Tensor, draw: int | Tensor = 0, draws: int = 1
) -> Tensor:
    """The mask of one of the designs above, by name.

    Raises:
        ValueError: the design is not known, there are no draws, or a p is none of a probability.

    >>> keys, index = torch.tensor([5]), torch.arange(4)[None]
    >>> int(draw_mask("systematic", torch.full((1, 4), 0.5), keys, index).sum())
    2
    """
    _check_design(design)
    if design == "systematic":
        return systematic(p, keys, index)
    if design == "independent":
        return independent(p, keys, index)
    return explore(p, keys, index, draw, draws)


def _check_design(design: str) -> None:
    if design not in get_args(DesignName):
        raise ValueError(f"design {design!r:.80}: take one of {', '.join(get_args(DesignName))}")


def _check_p(p: Tensor) -> None:
    low, high = (float(end) for end in p.detach().aminmax()) if p.numel() else (0.0, 1.0)
    if not (low >= 0.0 and high <= 1.0 + ROUNDING):  # NaN is neither
        raise ValueError(f"p holds {high if low >= 0.0 else low:g}: give probabilities, from 0 to 1")


def room(
    design: DesignName,
    p: Tensor,
    mask: Tensor,
    keys: Tensor,
    index: Tensor,
    draw: int | Tensor = 0,
    draws: int = 1,
) -> Tensor:
    """How far down and up the uniform numbers behind a mask could move before the mask became another; [B, S, 2].

    With all that p has no part in (keys, and with them the random order) given, a mask is decided by S uniform numbers
    per row, each of which lies somewhere in an interval. The probability of the mask is the product of the intervals'
    lengths, down + up; that of several masks drawn with the same keys that of the intervals they have in common.

    - independent: S = T coins u_i; [0, p_i) masks position i, [p_i, 1) does not.
    - systematic, explore: S = 1, the start u. With C_j where the j-th position in the random order ends (C_0 = 0) and
      k_j the number of masked positions up to there, the mask is the one at hand if ⌊C_j + u⌋ = k_j for every j,
      that is max_j (k_j - C_j) ≤ u < 1 + min_j (k_j - C_j).

    Args:
        p: [B, T], differentiable.
        mask: [B, T] boolean, what `draw_mask` drew with the other arguments.
        keys, index, draw, draws: as in `draw_mask`.

    Raises:
        ValueError: the design is not known.

    >>> p, keys, index = torch.tensor([[0.2, 0.7, 0.6, 0.5]]), torch.tensor([5]), torch.arange(4)[None]
    >>> mask = independent(p, keys, index)
    >>> mask, room("independent", p, mask, keys, index).sum(2)
    (tensor([[False,  True,  True, False]]), tensor([[0.8000, 0.7000, 0.6000, 0.5000]], dtype=torch.float64))
    """
    _check_design(design)
    if design == "independent":
        u = uniforms(keys, index, Stream.INCLUDE)
        p = p.double()
        return torch.stack([u - torch.where(mask, 0.0, p), torch.where(mask, p, 1.0) - u], 2)
    order = random_order(keys, index)
    ahead = mask.gather(1, order).cumsum(1) - laid_end_to_end(p, order)
    start = random_start(keys, index, _turn(draw, draws) if design == "explore" else 0.0)
    down, up = (
        start - ahead.amax(1, keepdim=True).clamp(min=0.0),
        1 + ahead.amin(1, keepdim=True).clamp(max=0.0) - start,
    )
    return torch.stack([down, up], 2)
