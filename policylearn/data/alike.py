"""Rows that say the same: data sets repeat sentences with another span marked, pictures under another name."""

import numpy as np
from transformers import PreTrainedTokenizerBase

from policylearn.data.pictures import PatchRows
from policylearn.data.tokens import TokenRows


def same_words(rows: TokenRows, solid: np.ndarray) -> np.ndarray:
    """For every row the first row that consists of the same `solid` token types, in any order.

    >>> rows = TokenRows(np.array([5, 6, 9, 6, 5]), np.array([0, 2, 5]))
    >>> same_words(rows, np.arange(10) < 9)
    array([0, 0])
    """
    return _first_of([np.unique(rows[i][solid[rows[i]]]).tobytes() for i in range(len(rows))])


def same_pixels(rows: PatchRows) -> np.ndarray:
    """For every picture the first of the same pixels."""
    return _first_of([picture.tobytes() for picture in rows.pixels])


def solid_types(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Token types that hold a letter or digit and are not special, [V] boolean."""
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_tokens)
    return np.array([piece not in special and any(c.isalnum() for c in piece) for piece in pieces])


def _first_of(contents: list[bytes]) -> np.ndarray:
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(content, i) for i, content in enumerate(contents)], dtype=np.int64)
