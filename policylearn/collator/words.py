"""Words as whoever made the examples knows them, where the tokenizer's own pieces do not tell or tell otherwise."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.masking.vocabulary import mark_of
from policylearn.messages.quote import quote

WORD_IDS: Literal["word_ids"] = "word_ids"
CHINESE_REF: Literal["chinese_ref"] = "chinese_ref"
OwnWords = Literal["word_ids", "chinese_ref"] | Callable[[Mapping[str, Any]], Sequence[int | None]]
"""Where words come from: see `word_numbers`."""
LISTED = (list, tuple, np.ndarray, Tensor)
NUMBER = (int, float, np.number, Tensor, type(None))
"""What may stand for a word."""
CONTINUES = "##"
NONE = -1
"""Number of what is in no word, and so a word of its own."""


def word_numbers(row: Mapping[str, Any], words: OwnWords, tokenizer: PreTrainedTokenizerBase | None = None) -> Tensor:
    """The number of the word that each token of an example is in, -1 where it is in none; int64, of the shape of its
    tokens.

    Args:
        row: an example with `input_ids`.
        words: "word_ids", a column such as `BatchEncoding.word_ids()`, with None (or a negative number) for special
            tokens, or NaN as data frames have it; "chinese_ref", a column of the positions of tokens that go on with a
            word, as transformers' scripts for whole-word masking of Chinese make it, those of them beyond a text that
            was cut included; or a function of the example that gives what `word_ids` holds.
        tokenizer: whose pieces go on with a word beside "chinese_ref" if it marks them with `##`, for the scripts list
            Chinese alone; None: there are none.

    Raises:
        ValueError: the column is not there, holds what is no number or position, or has another number of words than
            there are tokens.

    >>> word_numbers({"input_ids": [2, 7, 8, 9, 3], "word_ids": [None, 0, 0, 1, None]}, "word_ids")
    tensor([-1,  0,  0,  1, -1])
    >>> word_numbers({"input_ids": [2, 7, 8, 9, 3], "chinese_ref": [2]}, "chinese_ref")
    tensor([0, 1, 1, 2, 3])
    """
    tokens = torch.as_tensor(row["input_ids"])
    if isinstance(words, str) and words not in row:
        raise ValueError(
            f"words={words!r}, but an example has no such column: give it (a Trainer of Hugging Face drops it, unless "
            "remove_unused_columns=False), or words=None"
        )
    if words == CHINESE_REF:
        return _from_positions(row[CHINESE_REF], tokens, tokenizer)
    numbers = _numbers(words(row) if callable(words) else row[WORD_IDS], words)
    if numbers.shape != tokens.shape:
        raise ValueError(
            f"words={words!r:.60} gives words of shape {list(numbers.shape)} for tokens of shape {list(tokens.shape)}: "
            "give a number per token, special tokens included (None)"
        )
    return numbers


def _from_positions(given: Any, tokens: Tensor, tokenizer: PreTrainedTokenizerBase | None) -> Tensor:
    listed = isinstance(given, LISTED)
    positions = np.asarray(given if listed and len(given) else np.zeros(0, np.int64))
    fits = listed and tokens.dim() == positions.ndim == 1 and positions.dtype.kind in "iu"
    if not fits or (positions < 0).any():
        raise ValueError(
            f"words={CHINESE_REF!r}: an example with tokens of shape {list(tokens.shape)} has {quote(given)}: give "
            "examples one by one, each with a list of positions from 0 on"
        )
    begins = torch.ones_like(tokens, dtype=torch.int64)
    if tokenizer is not None and (not tokenizer.is_fast or mark_of(tokenizer) == CONTINUES):
        pieces = tokenizer.convert_ids_to_tokens(tokens.clamp(min=0).tolist())
        begins[[i for i, piece in enumerate(pieces) if (piece or "").startswith(CONTINUES)]] = 0
    begins[torch.from_numpy(positions[positions < len(tokens)].astype(np.int64))] = 0
    return begins.cumsum(0) - 1


def _numbers(given: Any, words: OwnWords) -> Tensor:
    if isinstance(given, Tensor):
        return given.nan_to_num(nan=NONE).long() if given.is_floating_point() else given.long()
    odd = [one for one in given if not isinstance(one, NUMBER)] if isinstance(given, LISTED) else [given]
    if odd:
        raise ValueError(f"words={words!r:.60} gives {quote(odd[0])}: give a number per token, None for special ones")
    return torch.tensor([NONE if one is None or one != one else int(one) for one in given], dtype=torch.int64)
