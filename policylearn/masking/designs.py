"""Sampling designs: from inclusion probabilities p to a mask whose true inclusion probabilities are p.

The names are those of survey sampling (Särndal, Swensson & Wretman, *Model Assisted Survey Sampling*,
1992). All take p [B, T] and keys [B] and return boolean masks [B, T]; where p is 0 nothing is drawn.
"""

from typing import Literal

import torch
from torch import Tensor

from policylearn.masking.keys import Stream, uniforms

DesignName = Literal["systematic", "independent", "explore"]


def systematic(p: Tensor, keys: Tensor, index: Tensor, offset: float = 0.0) -> Tensor:
    """A draw of fixed size: lay the p_i end to end in random order, mark every whole number after a
    random start (Madow, 1949).

    The size is ⌊Σp⌋ or ⌈Σp⌉, and for a given key the same for every p of the same sum, so that arms
    of an experiment mask equally many tokens. `offset` moves the start round the unit circle.

    Args:
        p: [B, T] inclusion probabilities in [0, 1].
        keys: [B] of `example_keys`.
        index: [B, T] of `positions`.
        offset: added to the random start, modulo 1.
    """
    order = uniforms(keys, index, Stream.ORDER).argsort(1)
    ends = p.double().gather(1, order).cumsum(1)
    # Rounding the total keeps 3 from becoming 2.9999999: sizes must not depend on the last bit.
    ends = ends * (ends[:, -1:].round(decimals=6) / ends[:, -1:].clamp(min=1e-9))
    start = (uniforms(keys, torch.zeros_like(index[:, :1]), Stream.START) + offset) % 1.0
    ticks = (ends + start).floor()
    crossed = ticks.diff(dim=1, prepend=start.floor()) > 0
    return torch.zeros_like(crossed).scatter(1, order, crossed)


def independent(p: Tensor, keys: Tensor, index: Tensor) -> Tensor:
    """One coin per position (Bernoulli, or Poisson, sampling): simple, but of random size."""
    return uniforms(keys, index, Stream.INCLUDE) < p


def explore(p: Tensor, keys: Tensor, index: Tensor, draw: int, draws: int) -> Tensor:
    """Draw number `draw` of `draws` evenly spaced systematic draws (Fully-Explored masking, Zheng et
    al., 2020, when p is constant).

    With equal p and draws · p = 1 the masks are disjoint and cover every position; with unequal p each
    position is in ⌊draws · p_i⌋ or ⌈draws · p_i⌉ of them. All draws must be given the same keys.
    """
    return systematic(p, keys, index, offset=(draw % draws) / draws)


def draw_mask(design: DesignName, p: Tensor, keys: Tensor, index: Tensor, draw: int = 0, draws: int = 1) -> Tensor:
    """The mask of one of the designs above, by name.

    >>> keys, index = torch.tensor([5]), torch.arange(4)[None]
    >>> int(draw_mask("systematic", torch.full((1, 4), 0.5), keys, index).sum())
    2
    """
    if design == "systematic":
        return systematic(p, keys, index)
    if design == "independent":
        return independent(p, keys, index)
    return explore(p, keys, index, draw, draws)
