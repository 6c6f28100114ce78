"""Which positions may be masked at all."""

import numpy as np
import torch
from torch import Tensor

from policylearn.masking.keys import numpy_can_read


def special_table(special_ids: list[int], vocab_size: int) -> Tensor:
    """Boolean table over the vocabulary, True for ids that must never be masked; [V]."""
    table = torch.zeros(vocab_size, dtype=torch.bool)
    table[[i for i in special_ids if 0 <= i < vocab_size]] = True
    return table


def look_up(table: Tensor, ids: Tensor) -> Tensor:
    """Entry of a table [..., V] for every token id of any shape S; [..., S].

    >>> look_up(torch.tensor([5, 6, 7]), torch.tensor([[2, 2], [0, 1]]))
    tensor([[7, 7],
            [5, 6]])
    """
    # `table[..., ids]` says the same and takes three times as long.
    return table.index_select(-1, ids.flatten()).view(*table.shape[:-1], *ids.shape)


def flat_positions(mask: Tensor) -> Tensor:
    """Where a mask of any shape is True, once it is flattened; [M] int64.

    >>> flat_positions(torch.tensor([[True, False], [False, True]]))
    tensor([0, 3])
    """
    if numpy_can_read(mask):  # several times as fast as torch's
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.flatten().nonzero()[:, 0]


def eligible_positions(ids: Tensor, real: Tensor, special: Tensor) -> Tensor:
    """Real tokens that are neither special nor padding; boolean [B, T].

    Args:
        ids: [B, T] token ids.
        real: [B, T], 1 or True for tokens, 0 or False for padding (an attention mask).
        special: [V] boolean, of `special_table`.

    >>> ids = torch.tensor([[2, 7, 8, 3, 0]])
    >>> eligible_positions(ids, ids != 0, special_table([0, 2, 3], 9))
    tensor([[False,  True,  True, False, False]])
    """
    return ~look_up(special, ids) & real.bool()
