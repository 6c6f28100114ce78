"""Any number of texts run through a model, in chunks of similar length."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK = 12_288
"""Tokens run through the encoder at once."""
Indices = Sequence[int] | np.ndarray


def in_chunks(
    function: Callable[..., Tensor], batch: Callable[[list[int]], tuple[Tensor, ...]], picked: Indices, lengths: Indices
) -> Tensor:
    """What a function says of the picked rows, [len(picked), ...], in chunks of similar length.

    Where a gradient is asked for and there is more than one chunk, each is computed again on the way back: memory
    then depends on the size of a chunk and not on the number of examples.

    Args:
        function: tensors of B rows → [B, ...].
        batch: row numbers → its arguments.
        picked: row numbers.
        lengths: of the picked rows, in tokens.
    """
    lengths = np.asarray(lengths)
    order = lengths.argsort(kind="stable")
    chunks = _chunks(lengths[order].tolist())
    again = torch.is_grad_enabled() and len(chunks) > 1
    parts = []
    for chunk in chunks:
        rows = batch([int(picked[i]) for i in order[chunk]])
        parts.append(checkpoint(function, *rows, use_reentrant=False) if again else function(*rows))
    return torch.cat(parts)[torch.from_numpy(order).argsort()]


def _chunks(lengths: Sequence[int]) -> list[slice]:
    """Neighbours in ascending lengths, such that each chunk holds CHUNK tokens at most, padding included.

    >>> _chunks([4000, 4000, 6000, 13000])
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    cuts = [0]
    for i, length in enumerate(lengths):
        if i > cuts[-1] and (i + 1 - cuts[-1]) * length > CHUNK:
            cuts.append(i)
    return [slice(low, high) for low, high in pairwise([*cuts, len(lengths)])]
