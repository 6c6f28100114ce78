"""What the model sees instead of a masked token."""

import torch
from torch import Tensor

from policylearn.masking.eligibility import flat_positions
from policylearn.masking.keys import Stream, fractions, random_bits, stream_keys

IGNORED = -100


def corrupt(
    ids: Tensor,
    mask: Tensor,
    keys: Tensor,
    index: Tensor,
    mask_token_id: int,
    vocab_size: int,
    mask_share: float = 0.8,
    random_share: float = 0.1,
    choices: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Replace masked tokens: by [MASK] (80 %), by a random token (10 %), or not at all (Devlin et al., 2019).

    Args:
        ids: [B, T].
        mask: [B, T] boolean, what to predict.
        keys: [B] and index [B, T], of `masking.keys`.
        mask_token_id: id of [MASK].
        vocab_size: random tokens are drawn from range(vocab_size).
        mask_share, random_share: the split; what they leave stays as it is.
        choices: ids that random tokens are drawn from instead.

    Returns:
        (corrupted ids [B, T], labels [B, T] with -100 where nothing is to be predicted).
    """
    # Only the masked positions are hashed, a seventh of all.
    flat = flat_positions(mask)
    kept, at = (x.reshape(-1).index_select(0, flat) for x in (ids, index))
    streams = stream_keys(keys, Stream.CORRUPTION, Stream.REPLACEMENT).index_select(1, flat // mask.shape[1])
    u, v = fractions(random_bits(streams, at))
    drawn = (v * (vocab_size if choices is None else len(choices))).to(kept.dtype)
    shown = torch.where(u < mask_share, mask_token_id, drawn if choices is None else choices[drawn])
    shown = torch.where(u < mask_share + random_share, shown, kept)
    corrupted = ids.flatten().index_copy(0, flat, shown).view_as(ids)
    labels = torch.full_like(corrupted, IGNORED).flatten().index_copy_(0, flat, kept).view_as(ids)
    return corrupted, labels


def predictable(labels: Tensor, ids: Tensor, real: Tensor) -> Tensor:
    """Labels [B, T] of which there is at least one: of no label at all, the mean loss is NaN, and the model lost.

    >>> ids = torch.tensor([[2, 3, 0]])  # a text without a word
    >>> predictable(torch.full_like(ids, -100), ids, ids != 0)
    tensor([[   2, -100, -100]])
    """
    if not bool((labels != IGNORED).any()):
        first = int(real.flatten().long().argmax())
        labels = labels.flatten().index_fill(0, torch.tensor(first), int(ids.flatten()[first])).view_as(labels)
    return labels
