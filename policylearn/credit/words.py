"""The words that masked tokens are in."""

import numpy as np

from policylearn.masking import MaskedBatch, sizes, word_keys
from policylearn.masking.lengths import LONGEST_WORD
from policylearn.policy.policy import MaskingPolicy


def keys_of(policy: MaskingPolicy, batch: MaskedBatch) -> np.ndarray:
    """Key of the word that each masked token is in, [M]."""
    lead = policy.field.words(batch.original, batch.real)
    return word_keys(policy.field.types(batch.original), lead).gather(1, lead)[batch.mask].numpy()


def share_in_long_words(policy: MaskingPolicy, batch: MaskedBatch) -> float:
    """Of the masked tokens, the share in words of more than `LONGEST_WORD`."""
    lead = policy.field.words(batch.original, batch.real)
    return float((sizes(lead).gather(1, lead)[batch.mask] > LONGEST_WORD).double().mean())


def spell(policy: MaskingPolicy, batch: MaskedBatch) -> dict[int, tuple[int, ...]]:
    """Types of the words of a batch by key."""
    lead, types = policy.field.words(batch.original, batch.real), policy.field.types(batch.original)
    keys = word_keys(types, lead)
    rows, starts = keys.nonzero(as_tuple=True)
    ends = starts + sizes(lead)[rows, starts]
    ids = types.tolist()
    places = zip(keys[rows, starts].tolist(), rows.tolist(), starts.tolist(), ends.tolist(), strict=True)
    return {key: tuple(ids[row][start:end]) for key, row, start, end in places}
