"""From examples to one rectangular batch, [B, T]."""

from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.collator.packing import OFFSETS

Batch = dict[str, Any]
"""Column name → tensor, or whatever it was that is no number."""
Rows = Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""Mappings with `input_ids`; or one mapping of columns, a batch that is put together already."""
INTEGERS = frozenset({"input_ids", "attention_mask", "token_type_ids", "special_tokens_mask"})
"""Columns of integers, whoever made them: lists of them are read three times as fast when that is known."""
MARKS = {
    "attention_mask": "1 for tokens and 0 for padding",
    "special_tokens_mask": "1 where nothing may be masked and 0 elsewhere",
}
"""Column that marks tokens → its numbers."""
UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
"""Which torch stores, and hardly computes with."""


@dataclass(frozen=True)
class Padding:
    """How examples become as long as the longest of them.

    Attributes:
        token: id of the padding token; None: there is none, and all examples must have one length.
        fill: other column → what padding holds in it, 0 where not named.
        side: "right" or "left", where it goes.
        multiple: the width is a multiple of it.
        telling: the padding token is padding wherever it stands; else only the lengths of examples tell.
    """

    token: int | None
    fill: Mapping[str, int] = field(default_factory=dict)
    side: str = "right"
    multiple: int | None = None
    telling: bool = True

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, multiple: int | None = None) -> "Padding":
        """As a tokenizer pads."""
        pad = tokenizer.pad_token_id
        fill = {"special_tokens_mask": 1, "token_type_ids": tokenizer.pad_token_type_id}
        others = (getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "sep", "cls", "unk"))
        telling = pad not in (None, *others)
        return cls(pad, fill, tokenizer.padding_side, multiple, telling)


def assemble(examples: Rows, padding: Padding) -> tuple[Batch, Tensor]:
    """Examples side by side, and which of their positions are no padding, [B, T] boolean.

    Returns:
        Columns as long as the tokens are [B, T]; others are stacked as they are, strings stay lists, and where the
        documents of each row end is a list of tensors.

    Raises:
        ValueError: there are no examples, one lacks `input_ids` or a column that others have, what a column holds
            cannot be laid side by side, a token id is no whole number, or a mask is one to be added to scores.

    >>> batch, real = assemble([{"input_ids": [2, 7, 3], "index": 4}, {"input_ids": [2, 3], "index": 5}], Padding(0))
    >>> batch["input_ids"], batch["index"]
    (tensor([[2, 7, 3],
            [2, 3, 0]]), tensor([4, 5]))
    >>> real
    tensor([[ True,  True,  True],
            [ True,  True, False]])
    """
    examples = rows_of(examples)
    batch, inside = _together(examples) if isinstance(examples, Mapping) else _side_by_side(examples, padding)
    batch = {name: x.long() if getattr(x, "dtype", None) in UNSIGNED else x for name, x in batch.items()}
    batch["input_ids"] = ids = _token_ids(batch["input_ids"])
    if ids.dim() != 2:
        raise ValueError(f"input_ids has shape {list(ids.shape)}: give one list of token ids per example")
    _check_marks(batch)
    if "attention_mask" not in batch:
        return batch, inside & (ids != padding.token) if padding.telling else inside
    if (mask := batch["attention_mask"]).shape != ids.shape:
        raise ValueError(
            f"attention_mask has shape {list(mask.shape)}, input_ids {list(ids.shape)}: give one number per token"
        )
    return batch, mask.bool()


def is_flat(examples: Rows) -> bool:
    """Whether documents stand end to end, in a batch without a dimension of rows."""
    return isinstance(examples, Mapping) and not _is_nested(examples["input_ids"])


def flattened(batch: Batch) -> Batch:
    """A batch of one row without the dimension of rows.

    >>> flattened({"input_ids": torch.tensor([[5, 6, 7]]), "cu_seqlens": torch.tensor([0, 3])})
    {'input_ids': tensor([5, 6, 7]), 'cu_seqlens': tensor([0, 3])}
    """
    shape = batch["input_ids"].shape
    return {name: value[0] if np.shape(value)[:2] == shape else value for name, value in batch.items()}


def as_numpy(column: Any) -> Any:
    """A column of a batch, or the rows of one that is a list, in NumPy; what is no tensor as it is."""
    if isinstance(column, list):
        return [as_numpy(row) for row in column]
    return column.numpy() if isinstance(column, Tensor) else column


def rows_of(examples: Any) -> Any:
    """A mapping of lists, as a slice of a data set is, as examples; all else as it is."""
    if not isinstance(examples, Mapping):
        return examples
    if "input_ids" not in examples:
        raise ValueError(f"the batch has columns {sorted(examples)} but no 'input_ids': tokenize the texts first")
    ids = examples["input_ids"]
    listed = _is_list(ids) and _is_nested(ids)
    if not listed or any(_length(column) != len(ids) for column in examples.values()):
        return examples
    return [dict(zip(examples, values, strict=True)) for values in zip(*examples.values(), strict=True)]


def _together(batch: Mapping[str, Any]) -> tuple[Batch, Tensor]:
    arrays = {name: _array(name, value) for name, value in batch.items()}
    if is_flat(batch):
        length = arrays["input_ids"].shape
        along = {name for name, value in arrays.items() if name not in OFFSETS and np.shape(value)[:1] == length}
        arrays = {name: value[None] if name in along else value for name, value in arrays.items()}
    return arrays, torch.ones_like(arrays["input_ids"], dtype=torch.bool)


class _Layout(NamedTuple):
    """Where the tokens of each example go."""

    lengths: list[int]
    width: int
    left: bool

    def lay(self, joined: np.ndarray, fill: int) -> Tensor:
        """Rows end to end [N, ...] as [B, T, ...]."""
        shape = (len(self.lengths), self.width, *joined.shape[1:])
        if len(joined) == shape[0] * shape[1]:
            return torch.from_numpy(joined.reshape(shape))
        rows = np.full(shape, fill, joined.dtype)
        for row, (start, end) in zip(rows, pairwise(accumulate(self.lengths, initial=0)), strict=True):
            first = self.width - (end - start) if self.left else 0
            row[first : first + end - start] = joined[start:end]
        return torch.from_numpy(rows)

    def inside(self) -> Tensor:
        """True at the tokens of examples, [B, T]."""
        at, lengths = torch.arange(self.width), torch.tensor(self.lengths)[:, None]
        return at >= self.width - lengths if self.left else at < lengths


def _side_by_side(rows: Sequence[Mapping[str, Any]], padding: Padding) -> tuple[Batch, Tensor]:
    _check_columns(rows)
    lengths = [len(row["input_ids"]) for row in rows]
    if padding.token is None and len(set(lengths)) > 1:
        raise ValueError("examples differ in length, and the tokenizer has no padding token: set tokenizer.pad_token")
    width = max(lengths) if padding.multiple is None else -(-max(lengths) // padding.multiple) * padding.multiple
    layout = _Layout(lengths, width, padding.side == "left")
    fill = {"input_ids": padding.token or 0, **padding.fill}
    batch: Batch = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name not in OFFSETS and [_length(value) for value in values] == lengths:
            batch[name] = layout.lay(_joined(name, values), fill.get(name, 0))
        else:
            batch[name] = _stacked(name, values)
    return batch, layout.inside()


def _token_ids(ids: Tensor) -> Tensor:
    """As int64, which would cut fractions off without a word and make 1 of True."""
    if ids.is_floating_point() and bool((broken := ids % 1 != 0).any()):
        raise ValueError(f"input_ids holds {float(ids[broken][0]):g}, which is no token id: tokenize the texts first")
    if ids.dtype == torch.bool:
        raise ValueError("input_ids holds True and False, which are no token ids: tokenize the texts first")
    return ids.long()


def _check_marks(batch: Batch) -> None:
    """Refuse masks that are to be added to scores of attention: their 0 means what 1 means here."""
    for name, meaning in MARKS.items():
        column = batch.get(name)
        if isinstance(column, Tensor) and column.dtype != torch.bool and not bool((column >= 0).all()):
            raise ValueError(f"{name} holds {float(column.min()):g}: give {meaning}")


def _check_columns(rows: Sequence[Mapping[str, Any]]) -> None:
    if not len(rows):
        raise ValueError("the batch is empty: a batch needs at least one example")
    columns = rows[0].keys()
    for i, row in enumerate(rows):
        if _length(row.get("input_ids")) is None:
            raise ValueError(
                f"example {i} of the batch has columns {sorted(row)} but no list of token ids in 'input_ids': tokenize "
                "the texts first"
            )
        if _is_nested(row["input_ids"]):
            raise ValueError(
                f"example {i} of the batch has input_ids of shape {list(np.shape(row['input_ids']))}: give a row of "
                "token ids per example, as a tokenizer does without return_tensors"
            )
        if row.keys() != columns:
            raise ValueError(
                f"example {i} of the batch has columns {sorted(row)}, example 0 {sorted(columns)}: give all the same"
            )


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_nested(ids: Any) -> bool:
    return any(_length(first) is not None for first in ids[:1]) if _is_list(ids) else ids.ndim > 1


def _array(name: str, value: Any) -> Any:
    """A column of a batch as a tensor; strings, and settings such as `max_length_q`, are left alone."""
    if _is_list(value):
        if name in OFFSETS and _is_nested(value):
            return _stacked(name, value)
        return value if _is_text(name, value) else _tensor(name, value)
    return _tensor(name, value) if isinstance(value, (Tensor, np.ndarray)) else value


def _is_text(name: str, values: Sequence[Any]) -> bool:
    """Whether a column holds strings, or nothing, in all rows.

    Raises:
        ValueError: in some, and numbers in others.
    """
    odd = [i for i, value in enumerate(values) if isinstance(value, str | bytes | None)]
    if odd and len(odd) < len(values):
        rows = ", ".join(map(str, odd[:5])) + (", …" if len(odd) > 5 else "")
        raise ValueError(
            f"column {name!r} holds {values[odd[0]]!r:.40} in example {rows} of the batch and numbers in others: fill "
            "it, or drop it from the data set"
        )
    return bool(odd)


def _length(value: Any) -> int | None:
    """Entries along the first dimension; None where there is none."""
    if _is_list(value):
        return len(value)
    shape = getattr(value, "shape", ())
    return shape[0] if shape else None


def _joined(name: str, values: Sequence[Any]) -> np.ndarray:
    """The rows of a column end to end, [N, ...]."""
    truths = name == "input_ids" and any(isinstance(value[0], bool) for value in values if len(value))
    if name in INTEGERS and all(map(_is_list, values)) and not truths:
        with suppress(TypeError, ValueError, OverflowError):  # not integers alone, or none that are so small
            return _joined_flags(values) if name == "special_tokens_mask" else _joined_integers(values)
    try:
        joined = np.concatenate([np.asarray(value) for value in values if len(value)] or [np.zeros(0, np.int64)])
    except (TypeError, ValueError, OverflowError) as error:
        raise _no_numbers(name, values[0]) from error
    if joined.dtype.kind not in "biuf":
        raise _no_numbers(name, values[0])
    return joined.astype(np.float32) if _is_list(values[0]) and joined.dtype == np.float64 else joined


def _joined_integers(values: Sequence[Any]) -> np.ndarray:
    """The same of lists of integers; those that hold one number alone, as most masks do, are not read one by one."""
    first = next(chain.from_iterable(values), 0)
    if isinstance(first, int) and all(value.count(first) == len(value) for value in values):
        return np.full(sum(map(len, values)), first, np.int64)
    found = array("q")  # which refuses what is no integer, where NumPy cuts fractions off and reads strings
    for value in values:
        found.fromlist(list(value))
    return np.frombuffer(found, np.int64)


def _joined_flags(values: Sequence[Any]) -> np.ndarray:
    """The same of lists of zeros and ones, of which bytes are made fastest."""
    return np.frombuffer(bytearray().join(map(bytes, values)), np.uint8)


def _stacked(name: str, values: Sequence[Any]) -> Any:
    if _is_text(name, values):
        return list(values)
    if name in OFFSETS:
        return [_tensor(name, value) for value in values]
    if len({getattr(value, "shape", _length(value)) for value in values}) > 1:
        raise ValueError(f"column {name!r} is neither as long as the tokens nor of one length in all examples: drop it")
    if isinstance(values[0], (Tensor, np.ndarray)):
        return torch.stack([_tensor(name, value) for value in values])
    return _tensor(name, values)


def _tensor(name: str, value: Any) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _no_numbers(name, value) from error


def _no_numbers(name: str, value: Any) -> ValueError:
    if name == "input_ids":
        return ValueError(f"input_ids holds {value!r:.80}, which are no token ids: tokenize the texts first")
    if name in INTEGERS and _length(value) and _is_nested(value):
        return ValueError(f"{name} of an example holds a row of numbers for each token: give one number per token")
    return ValueError(f"column {name!r} holds what is no array of numbers: {value!r:.80}; drop it from the data set")
