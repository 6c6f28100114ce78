"""What examples must be like: tokens that are the tokenizer's, columns that fit them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policylearn.masking.corruption import IGNORED
from policylearn.masking.eligibility import look_up

PROTECTED = "special_tokens_mask"


def protected_positions(input_ids: Tensor, real: Tensor, special: Tensor, given: Tensor | None) -> Tensor:
    """Where nothing may be masked: padding, special tokens, and what the examples protect; [B, T] boolean.

    Args:
        input_ids: [B, T].
        real: [B, T] boolean, not padding.
        special: [V] boolean.
        given: the column `special_tokens_mask`, [B, T].

    Raises:
        ValueError: a token is not in the vocabulary, or the column has another shape.

    >>> ids, special = torch.tensor([[2, 7, 8, 3, 0]]), torch.arange(9) < 4
    >>> protected_positions(ids, ids != 0, special, torch.tensor([[0, 0, 1, 0, 0]]))
    tensor([[ True, False,  True,  True,  True]])
    """
    check_tokens(input_ids, len(special))
    protected = look_up(special, input_ids) | ~real
    if given is None:
        return protected
    if given.shape != input_ids.shape:
        raise ValueError(
            f"special_tokens_mask has shape {list(given.shape)}, input_ids {list(input_ids.shape)}: give one number "
            "per token, or drop the column"
        )
    return protected | given.bool()


def seen_positions(input_ids: Tensor, protected: Tensor, special: Tensor, padding: int) -> Tensor:
    """What a policy is to see of tokens [B, T], boolean: [CLS] and [SEP] are part of the text; what else is protected
    is kept from it, as padding is.

    >>> ids, special = torch.tensor([[2, 7, 8, 3, 0]]), torch.arange(9) < 4
    >>> seen_positions(ids, torch.tensor([[1, 0, 1, 1, 1]]) > 0, special, padding=0)
    tensor([[ True,  True, False,  True, False]])
    """
    return ~protected | (look_up(special, input_ids) & (input_ids != padding))


def protected_by_labels(row: Mapping[str, Any]) -> Tensor:
    """Where an example's own labels are -100, and what its `special_tokens_mask` protects; of the shape of its tokens.

    Raises:
        ValueError: it has no labels, or another number of them than of tokens.

    >>> row = {"input_ids": [2, 7, 8, 3], "labels": [-100, 7, -100, 3]}
    >>> protected_by_labels(row), protected_by_labels(row | {"special_tokens_mask": [0, 0, 0, 1]})
    (tensor([1, 0, 1, 0]), tensor([1, 0, 1, 1]))
    """
    if "labels" not in row:
        raise ValueError("own_labels=True, but an example has no labels: give each a label per token, or leave it out")
    tokens, labels = torch.as_tensor(row["input_ids"]), torch.as_tensor(row["labels"])
    if labels.shape != tokens.shape:
        raise ValueError(
            f"own_labels=True: labels have shape {list(labels.shape)}, input_ids {list(tokens.shape)}: give a label "
            "per token, -100 where nothing may be masked"
        )
    given = torch.as_tensor(row.get(PROTECTED, torch.zeros_like(labels)))
    return ((labels == IGNORED) | given.bool()).long()


def check_tokens(input_ids: Tensor, vocab_size: int) -> None:
    """Refuse what is no token.

    Raises:
        ValueError: an id is negative, or not in the vocabulary.
    """
    if not input_ids.numel():
        return
    low, high = (int(end) for end in input_ids.aminmax())
    if low < 0 or high >= vocab_size:
        wrong = low if low < 0 else high
        row = int((input_ids == wrong).any(1).nonzero()[0])
        raise ValueError(
            f"row {row} of the batch holds token id {wrong}, the policy knows ids from 0 to {vocab_size - 1}: tokenize "
            "with the tokenizer the policy was made with"
        )


def check_scores(examples: Sequence[Mapping[str, Any]], scorers: Sequence[str]) -> None:
    """Refuse scores that do not fit the tokens of their example, or of a batch that is put together, given as one.

    Raises:
        ValueError: an example has no such column, too few or too many scores, or one that is infinite.
    """
    for name in [name for name in scorers if any(name in example for example in examples)]:
        for row, example in enumerate(examples):
            values, tokens = torch.as_tensor(example.get(name, []), dtype=torch.float32), np.shape(example["input_ids"])
            which = "the batch" if len(tokens) > 1 else f"example {row} of the batch"
            if values.shape != tokens:
                raise ValueError(
                    f"{which} has {values.numel()} scores in column {name!r} for {math.prod(tokens)} "
                    "tokens: give one number per token, special tokens included, in every example or in none"
                )
            if values.isinf().any():
                raise ValueError(f"{which} has a score in column {name!r} that is infinite: give NaN for one not known")
