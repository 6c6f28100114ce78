"""Masks with a structure and without knowledge: what any learned mask of pictures has to be better than.

Each is a score per patch, drawn by the keys of the pictures, which a policy follows as it follows a scorer's; at a
strength of `FIRM` the patches of highest score are hidden, so many as the budget says.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from policylearn.masking.grid import Grid
from policylearn.masking.keys import Stream, uniforms

FIRM = 60.0
"""Strength at which but for one or two patches p is 0 or the cap."""
NARROW, WIDE = 0.7, 1.4
"""Standard deviations of the two Gaussian filters of green noise, in patches."""
ASPECT = 0.3
"""A block is at most 1 / ASPECT times as high as wide, or as wide as high (BEiT, Bao et al., ICLR 2022)."""


def block(keys: Tensor, grid: Grid) -> Tensor:
    """Scores [B, T] by which a mask is one rectangle at a random place and of a random aspect: minus the distance to
    its centre, max(|rows| / h, |columns| / w) with h · w = 1. The same for all times of a film."""
    drawn = uniforms(keys, torch.arange(3).expand(len(keys), 3), Stream.STRUCTURE)
    stretch = torch.exp((drawn[:, 2:] * 2 - 1) * math.log(ASPECT) / 2)
    apart = (grid.places().double() - drawn[:, None, :2]).abs()
    return -torch.maximum(apart[..., 0] * stretch, apart[..., 1] / stretch).float()


def structured(keys: Tensor, grid: Grid) -> Tensor:
    """Scores [B, T] of green noise, white noise without its lowest and highest frequencies, G(NARROW) - G(WIDE), of
    mean 0 and variance 1 in every picture (ColorMAE, Hinojosa et al., ECCV 2024). The same for all times of a film."""
    reach = math.ceil(3 * WIDE)
    rows, columns = grid.rows + 2 * reach, grid.columns + 2 * reach
    index = torch.arange(rows * columns).expand(len(keys), -1)
    white = uniforms(keys, index, Stream.STRUCTURE).reshape(-1, 1, rows, columns)
    band = (gaussian(NARROW, reach) - gaussian(WIDE, reach))[None, None]
    noise = conv2d(white, band).flatten(1)
    noise = (noise - noise.mean(1, keepdim=True)) / noise.std(1, keepdim=True).clamp(min=1e-12)
    return noise.repeat(1, grid.layers).float()


def gaussian(deviation: float, reach: int) -> Tensor:
    """A Gaussian filter [2 · reach + 1, 2 · reach + 1], of sum 1, float64.

    >>> gaussian(0.5, 1)[1]
    tensor([0.0838, 0.6193, 0.0838], dtype=torch.float64)
    """
    line = torch.exp(-torch.arange(-reach, reach + 1, dtype=torch.float64).square() / (2 * deviation**2))
    return torch.outer(line, line) / line.sum().square()


STRUCTURES: dict[str, Callable[[Tensor, Grid], Tensor]] = {"block": block, "structured": structured}
"""By the name that a policy has them under: (keys [B], grid) → scores [B, T]."""
