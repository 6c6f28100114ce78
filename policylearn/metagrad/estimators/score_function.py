"""Estimator `score_function`: compare whole trainings (REINFORCE; Williams, Machine Learning 8, 1992).

    ∇ E[L] = E[(L - b) ∇ log P(masks)]

needs no derivative of the outer loss L, only the probability of the masks a training drew. Keys, and with them data
order, spans, corruption and the random order of the systematic design, do not depend on φ. Given them,
P(masks | keys) is a product of lengths of intervals of uniform numbers (`masking.designs.room`), and

    E_keys E[L ∇ log P(masks | keys) | keys] = E_keys ∇ E[L | keys] = ∇ E[L],

so conditioning costs no bias. It costs variance. A systematic mask is one of about as many intervals as its row has
tokens, short ones have scores of 1 / length, and independent coins are far quieter. Where many p are equal (a uniform
prior whose Σp over part of a row is whole) intervals of length zero are about to open, which no draw can know of:
there E[L] itself has a kink, and what comes out is neither of its two slopes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from policylearn.config import MaskingConfig
from policylearn.masking import MaskedBatch, at_leads, positions, room

SHORTEST = 1e-12
"""A mask on the border of an interval may come out with a length of zero, or a rounding error below it."""


def leave_one_out(losses: Tensor) -> Tensor:
    """Every loss [S] less the mean of the others: a baseline that is independent of the masks it is held against
    (Kool, van Hoof & Welling, 2019).

    >>> leave_one_out(torch.tensor([1.0, 2.0, 6.0]))
    tensor([-3.0000, -1.5000,  4.5000])
    """
    assert len(losses) >= 2, "one training has no other to be compared with"
    return (losses - losses.mean()) * (len(losses) / (len(losses) - 1))


def mask_room(p: Tensor, batch: MaskedBatch, masking: MaskingConfig) -> Tensor:
    """`masking.designs.room` of a batch, in units, [B, S, 2]; p [B, T] is the one it was masked with."""
    assert batch.keys is not None, "the keys of the draw are not known"
    units = at_leads(p, batch.lead), at_leads(batch.mask, batch.lead)
    return room(masking.design, *units, batch.keys, positions(batch.real), batch.draw, masking.draws)


def room_derivatives(rooms: Sequence[Tensor], keys: Sequence[Tensor]) -> list[Tensor]:
    """∂ log P(all masks of a training) / ∂ room of every batch, by which Σ derivative · room is differentiated.

    Masks drawn with the same keys (those of `explore`, or of a text that is there twice) share their uniform numbers:
    together they are as probable as what their intervals have in common, not as the product.

    Args:
        rooms: [B_k, S_k, 2] per batch, of `masking.room`.
        keys: [B_k] per batch.

    Returns:
        [B_k, S_k, 2] per batch.

    >>> first, second = torch.tensor([[[0.1, 0.4]]]), torch.tensor([[[0.3, 0.2]]])
    >>> room_derivatives([first, second], [torch.tensor([7]), torch.tensor([8])])
    [tensor([[[2., 2.]]]), tensor([[[2., 2.]]])]
    >>> room_derivatives([first, second], [torch.tensor([7]), torch.tensor([7])])  # 0.1 below and 0.2 above in common
    [tensor([[[3.3333, 0.0000]]]), tensor([[[0.0000, 3.3333]]])]
    """
    width = max(room.shape[1] for room in rooms)
    padded = [pad(room.detach(), (0, 0, 0, width - room.shape[1]), value=1.0) for room in rooms]
    everything = torch.cat(padded).requires_grad_()
    names, group = torch.cat(list(keys)).unique(return_inverse=True)
    common = everything.new_zeros(len(names), width, 2).scatter_reduce(
        0, group[:, None, None].expand_as(everything), everything, "amin", include_self=False
    )
    log_p = common.sum(2).clamp(min=SHORTEST).log().sum()
    (derivatives,) = torch.autograd.grad(log_p, everything)
    split = derivatives.split([len(room) for room in rooms])
    return [part[:, : room.shape[1]] for part, room in zip(split, rooms, strict=True)]
