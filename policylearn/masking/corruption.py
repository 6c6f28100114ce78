"""What the model sees instead of a masked token."""

import torch
from torch import Tensor

from policylearn.masking.keys import Stream, uniforms

IGNORED = -100


def corrupt(
    input_ids: Tensor,
    mask: Tensor,
    keys: Tensor,
    index: Tensor,
    *,
    mask_token_id: int,
    vocab_size: int,
    mask_share: float = 0.8,
    random_share: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """Replace masked tokens: by [MASK] (80 %), by a random token (10 %), or not at all (Devlin et al., 2019).

    Args:
        input_ids: [B, T].
        mask: [B, T] boolean, what to predict.
        keys: [B] and index [B, T], of `masking.keys`.
        mask_token_id: id of [MASK].
        vocab_size: random tokens are drawn from range(vocab_size).
        mask_share, random_share: the split; what they leave stays as it is.

    Returns:
        (corrupted input_ids [B, T], labels [B, T] with -100 where nothing is to be predicted).
    """
    u = uniforms(keys, index, Stream.CORRUPTION)
    random_ids = (uniforms(keys, index, Stream.REPLACEMENT) * vocab_size).long()
    hidden = torch.where(mask & (u < mask_share), mask_token_id, input_ids)
    swapped = mask & (u >= mask_share) & (u < mask_share + random_share)
    return torch.where(swapped, random_ids, hidden), torch.where(mask, input_ids, IGNORED)
