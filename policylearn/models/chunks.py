"""Any number of texts run through a model, in chunks of similar length."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from policylearn.messages.watch import UNSEEN, Watch
from policylearn.models.model import Features, InnerModel
from policylearn.protocols import Rows

CHUNK = 12_288
"""Tokens run through the encoder at once."""
Indices = Sequence[int] | np.ndarray


def in_chunks(
    function: Callable[..., Tensor],
    batch: Callable[[list[int]], tuple[Tensor, ...]],
    picked: Indices,
    lengths: Indices,
    watch: Watch = UNSEEN,
    sizes: np.ndarray | None = None,
) -> Tensor:
    """What a function says of the picked rows, [len(picked), ...], in chunks of similar length.

    Where a gradient is asked for and there is more than one chunk, each is computed again on the way back, one layer
    of the model at a time: memory then depends on what a layer makes of a chunk, and not on the number of examples or
    layers. The bits are those of keeping everything.

    Args:
        function: tensors of B rows → [B, ...].
        batch: row numbers → its arguments.
        picked: row numbers.
        lengths: of the picked rows, in tokens.
        watch: shows how far it is.
        sizes: how many things it says of each of the picked rows, if not one; they come row by row.
    """
    lengths = np.asarray(lengths)
    order = lengths.argsort(kind="stable")
    chunks = neighbours(lengths[order].tolist())
    again = torch.is_grad_enabled() and len(chunks) > 1
    parts = []
    for chunk in watch("texts through the model", chunks, len(picked), lambda chunk: chunk.stop - chunk.start):
        rows = batch([int(picked[i]) for i in order[chunk]])
        parts.append(checkpoint(_by_layers, function, *rows, use_reentrant=False) if again else function(*rows))
    back = torch.from_numpy(order).argsort()
    return torch.cat(parts)[back if sizes is None else _things(sizes[order], back.numpy())]


def _things(sizes: np.ndarray, back: np.ndarray) -> Tensor:
    """The numbers of the things of rows `back`, where row i has `sizes[i]` of them.

    >>> _things(np.array([1, 2, 1]), np.array([1, 2, 0]))
    tensor([1, 2, 3, 0])
    """
    ends = np.concatenate([[0], sizes.cumsum()])
    return torch.from_numpy(np.concatenate([np.arange(ends[i], ends[i + 1]) for i in back]))


def extract(features: Features, rows: Rows, picked: Indices, pad_id: int, watch: Watch = UNSEEN) -> Tensor:
    """Features of the picked rows, [len(picked), d], see `in_chunks`."""
    return in_chunks(features, partial(rows.batch, pad_id=pad_id), picked, rows.lengths(picked), watch)


def _by_layers(function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """`function(*rows)`; a model by itself keeps no more for the way back than what goes into its layers. One at other
    parameters than its own would come back to its own."""
    if not isinstance(function, InnerModel):
        return function(*rows)
    with layers_again(function):
        return function(*rows)


@contextmanager
def layers_again(model: nn.Module) -> Iterator[None]:
    """Within, the layers of a transformer are computed again on the way back. (transformers' own switch for it is for
    models in training mode, which draw dropout.)"""
    layers = [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class has its own


def neighbours(lengths: Sequence[float], most: int | None = None) -> list[slice]:
    """Neighbours in ascending lengths, such that each chunk holds `most` tokens, padding included; None: CHUNK.

    >>> neighbours([4000, 4000, 6000, 13000])
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    cuts, most = [0], CHUNK if most is None else most
    for i, length in enumerate(lengths):
        if i > cuts[-1] and (i + 1 - cuts[-1]) * length > most:
            cuts.append(i)
    return [slice(low, high) for low, high in pairwise([*cuts, len(lengths)])]
