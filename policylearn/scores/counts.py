"""Counting token types over a corpus of any size: one pass, memory for one number per type."""

from collections.abc import Iterable

import numpy as np
from transformers import PreTrainedTokenizerBase

from policylearn.data.tokens import CHUNK, chunks


def count_tokens(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Occurrences of every token id, [V] int64, special tokens not added.

    Args:
        texts: a stream of documents.
        tokenizer: a fast tokenizer, which tokenises a chunk of documents at once.
    """
    counts = np.zeros(len(tokenizer), dtype=np.int64)
    for chunk in chunks(texts, CHUNK):
        encodings = tokenizer(chunk, add_special_tokens=False, verbose=False)["input_ids"]
        ids = np.concatenate([np.asarray(row, dtype=np.int64) for row in encodings])
        counts += np.bincount(ids, minlength=len(counts))
    return counts
