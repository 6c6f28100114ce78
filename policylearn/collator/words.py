"""Words as whoever made the examples knows them, where the tokenizer's own pieces do not tell or tell otherwise."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

WORD_IDS: Literal["word_ids"] = "word_ids"
CHINESE_REF: Literal["chinese_ref"] = "chinese_ref"
OwnWords = Literal["word_ids", "chinese_ref"] | Callable[[Mapping[str, Any]], Sequence[int | None]]
"""Where words come from: see `word_numbers`."""
NONE = -1
"""Number of what is in no word, and so a word of its own."""


def word_numbers(row: Mapping[str, Any], words: OwnWords) -> Tensor:
    """The number of the word that each token of an example is in, -1 where it is in none; int64, of the shape of its
    tokens.

    Args:
        row: an example with `input_ids`.
        words: "word_ids", a column such as `BatchEncoding.word_ids()`, with None (or a negative number) for special
            tokens; "chinese_ref", a column of the positions of tokens that go on with a word, as transformers' scripts
            for whole-word masking of Chinese make it; or a function of the example that gives what `word_ids` holds.

    Raises:
        ValueError: the column is not there, or has another number of words than there are tokens.

    >>> word_numbers({"input_ids": [2, 7, 8, 9, 3], "word_ids": [None, 0, 0, 1, None]}, "word_ids")
    tensor([-1,  0,  0,  1, -1])
    >>> word_numbers({"input_ids": [2, 7, 8, 9, 3], "chinese_ref": [2]}, "chinese_ref")
    tensor([0, 1, 1, 2, 3])
    """
    tokens = torch.as_tensor(row["input_ids"])
    if isinstance(words, str) and words not in row:
        raise ValueError(f"words={words!r}, but an example has no such column: give it, or words=None")
    if words == CHINESE_REF:
        begins = torch.ones_like(tokens, dtype=torch.int64)
        begins[torch.as_tensor(row[CHINESE_REF], dtype=torch.int64)] = 0
        return begins.cumsum(-1) - 1
    given = words(row) if callable(words) else row[WORD_IDS]
    listed = given if isinstance(given, Tensor) else [NONE if number is None else int(number) for number in given]
    numbers = torch.as_tensor(listed, dtype=torch.int64)
    if numbers.shape != tokens.shape:
        raise ValueError(
            f"words={words!r:.60} gives words of shape {list(numbers.shape)} for tokens of shape {list(tokens.shape)}: "
            "give a number per token, special tokens included (None)"
        )
    return numbers
