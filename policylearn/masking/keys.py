"""Keyed randomness: every random number is a hash of what it belongs to.

A mask drawn here depends on (seed, epoch, the example's own tokens) and on nothing else: not on the
worker, the rank, the neighbours in the batch, the padding or the point a run was resumed from. No
generator has a state, so nothing can fall out of step.
"""

from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
"""Odd, and without pattern: spreads consecutive integers over all 64 bits."""
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)
_ALL = (1 << 64) - 1


class Stream(IntEnum):
    """Independent random streams of one key; a number drawn for one purpose never serves another."""

    ORDER = 1
    START = 2
    INCLUDE = 3
    CORRUPTION = 4
    REPLACEMENT = 5
    SPAN = 6
    RATE = 7
    STRUCTURE = 8


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift of int64 (torch's own `>>` repeats the sign bit)."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def numpy_can_read(x: Tensor) -> bool:
    """Whether NumPy, which is faster at several of the operations here, can take a tensor: not from another device, and
    not inside a transform of torch.func, where tensors have no memory of their own."""
    return x.device.type == "cpu" and not torch._C._functorch.is_functorch_wrapped_tensor(x)


def mix(x: Tensor) -> Tensor:
    """Scramble int64 values with the finaliser of SplitMix64 (Steele, Lea & Flood, 2014).

    >>> mix(torch.tensor([0, 1, 2]))
    tensor([                   0,  6238072747940578789, -2606959012126976886])
    """
    if numpy_can_read(x):
        return _mixed_array(x)
    # Every second step in place: half of the time of a hash goes into fresh memory.
    x = _shift_right(x, 30).bitwise_xor_(x).mul_(_MIX_1)
    x = _shift_right(x, 27).bitwise_xor_(x).mul_(_MIX_2)
    return _shift_right(x, 31).bitwise_xor_(x)


def _mixed_array(x: Tensor) -> Tensor:
    """`mix` in NumPy, whose integers without a sign need no mask after a shift: half the time of torch's on a CPU."""
    bits = x.numpy().view(np.uint64)
    scratch, mixed = np.empty_like(bits), np.empty_like(bits)
    np.right_shift(bits, np.uint64(30), out=scratch)
    np.bitwise_xor(scratch, bits, out=mixed)
    mixed *= np.uint64(_MIX_1 & _ALL)
    np.right_shift(mixed, np.uint64(27), out=scratch)
    mixed ^= scratch
    mixed *= np.uint64(_MIX_2 & _ALL)
    np.right_shift(mixed, np.uint64(31), out=scratch)
    mixed ^= scratch
    return torch.from_numpy(mixed.view(np.int64))


def mixed_integer(x: int) -> int:
    """`mix` of one Python integer, modulo 2^64: a dozen operations on tensors of one element take longer than a row.

    >>> mixed_integer(1)
    6238072747940578789
    """
    x &= _ALL
    x = (x ^ (x >> 30)) * _MIX_1 & _ALL
    x = (x ^ (x >> 27)) * _MIX_2 & _ALL
    x ^= x >> 31
    return x - (1 << 64) if x >> 63 else x


def _scrambled(number: int | Tensor) -> int | Tensor:
    """An integer, or a tensor of them, as one well-mixed key each."""
    if isinstance(number, Tensor):
        return mix((number + 1) * GOLDEN)
    return mixed_integer((number + 1) % 2**63 * GOLDEN)


def positions(real: Tensor) -> Tensor:
    """Index of every real token among the real tokens of its row, [B, T]: padding on either side
    changes nothing.

    >>> positions(torch.tensor([[0, 1, 1], [1, 1, 0]]))
    tensor([[-1,  0,  1],
            [ 0,  1,  1]])
    """
    if bool(real.all()):
        return torch.arange(real.shape[1], device=real.device).expand(real.shape)
    return real.long().cumsum(1) - 1


def example_keys(x: Tensor, real: Tensor, seed: int, epoch: int | Tensor = 0) -> Tensor:
    """One int64 key per row of integers x [B, T], such as token ids, from its real places, `seed` and `epoch`, [B].

    `epoch` may be one for each row, [B].

    Two identical examples get identical masks within an epoch, and different ones in the next.
    """
    tokens = mix((x.long() * GOLDEN).add_(positions(real) + 1))
    row = (tokens if bool(real.all()) else torch.where(real.bool(), tokens, 0)).sum(1)
    return mix(mix(row ^ _scrambled(seed)) + _scrambled(epoch))


def stream_keys(keys: Tensor, *streams: Stream) -> Tensor:
    """The keys of S streams, [S, B] int64, from the keys [B] of examples."""
    return mix(torch.stack([keys ^ _scrambled(int(stream)) for stream in streams]))


def random_bits(keys: Tensor, index: Tensor) -> Tensor:
    """64 random bits per (key, index), int64, in the shape that keys of `stream_keys` and index broadcast to."""
    return mix(index * GOLDEN + keys)


def uniforms(keys: Tensor, index: Tensor, stream: Stream) -> Tensor:
    """Uniform float64 numbers in [0, 1), one per (key, index, stream).

    Args:
        keys: [B] int64, of `example_keys`.
        index: [B, T] int64, usually `positions(real)`.
        stream: what the numbers are for.

    Returns:
        [B, T] float64, 53 random bits each.
    """
    return fractions(random_bits(stream_keys(keys, stream)[0, :, None], index))


def fractions(bits: Tensor) -> Tensor:
    """The upper 53 of 64 random bits as float64 numbers in [0, 1).

    >>> fractions(torch.tensor([1 << 62, -(1 << 63)]))
    tensor([0.2500, 0.5000], dtype=torch.float64)
    """
    return _shift_right(bits, 11).double().mul_(2.0**-53)
