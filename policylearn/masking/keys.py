"""Keyed randomness: every random number is a hash of what it belongs to.

A mask drawn here depends on (seed, epoch, the example's own tokens) and on nothing else: not on the
worker, the rank, the neighbours in the batch, the padding or the point a run was resumed from. No
generator has a state, so nothing can fall out of step.
"""

from enum import IntEnum

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)


class Stream(IntEnum):
    """Independent random streams of one key; a number drawn for one purpose never serves another."""

    ORDER = 1
    START = 2
    INCLUDE = 3
    CORRUPTION = 4
    REPLACEMENT = 5


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift of int64 (torch's own `>>` repeats the sign bit)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """Scramble int64 values with the finaliser of SplitMix64 (Steele, Lea & Flood, 2014).

    >>> mix(torch.tensor([0, 1, 2]))
    tensor([                   0,  6238072747940578789, -2606959012126976886])
    """
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def _scrambled(number: int, device: torch.device) -> Tensor:
    """A Python integer as one well-mixed key, [1]."""
    return mix(torch.tensor([(number + 1) % 2**63], device=device) * _GOLDEN)


def positions(real: Tensor) -> Tensor:
    """Index of every real token among the real tokens of its row, [B, T]: padding on either side
    changes nothing.

    >>> positions(torch.tensor([[0, 1, 1], [1, 1, 0]]))
    tensor([[-1,  0,  1],
            [ 0,  1,  1]])
    """
    return real.long().cumsum(1) - 1


def example_keys(input_ids: Tensor, real: Tensor, seed: int, epoch: int = 0) -> Tensor:
    """One int64 key per row of `input_ids` [B, T], from its real tokens, `seed` and `epoch`; [B].

    Two identical texts get identical masks within an epoch, and different ones in the next.
    """
    tokens = mix(input_ids.long() * _GOLDEN + positions(real) + 1)
    row = torch.where(real.bool(), tokens, 0).sum(1)
    device = input_ids.device
    return mix(mix(row ^ _scrambled(seed, device)) + _scrambled(epoch, device))


def uniforms(keys: Tensor, index: Tensor, stream: Stream) -> Tensor:
    """Uniform float64 numbers in [0, 1), one per (key, index, stream).

    Args:
        keys: [B] int64, of `example_keys`.
        index: [B, T] int64, usually `positions(real)`.
        stream: what the numbers are for.

    Returns:
        [B, T] float64, 53 random bits each.
    """
    stream_keys = mix(keys ^ _scrambled(int(stream), keys.device))
    bits = mix(stream_keys[:, None] + index * _GOLDEN)
    return _shift_right(bits, 11).double() * 2.0**-53
