"""From examples to one rectangular batch, [B, T]."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

Batch = dict[str, Any]
"""Column name → tensor, or whatever it was that is no number."""
Rows = Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""Mappings with `input_ids`; or one mapping of arrays, a batch that is put together already."""


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


def assemble(examples: Rows, padding: Padding) -> Batch:
    """Examples side by side, with an `attention_mask`.

    Returns:
        Columns as long as the tokens are [B, T]; others are stacked as they are, strings stay lists.

    Raises:
        ValueError: there are no examples, one lacks `input_ids` or a column that others have, or what a column holds
            cannot be laid side by side.

    >>> batch = assemble([{"input_ids": [2, 7, 3], "index": 4}, {"input_ids": [2, 3], "index": 5}], Padding(0))
    >>> batch["input_ids"]
    tensor([[2, 7, 3],
            [2, 3, 0]])
    >>> batch["attention_mask"]
    tensor([[1, 1, 1],
            [1, 1, 0]])
    >>> batch["index"]
    tensor([4, 5])
    """
    batch = _together(examples) if isinstance(examples, Mapping) else _side_by_side(examples, padding)
    ids = batch["input_ids"]
    if "attention_mask" not in batch:
        real = batch.pop(_LENGTHS) if _LENGTHS in batch else torch.ones_like(ids)
        batch["attention_mask"] = real * (ids != padding.token) if padding.telling else real
    if batch["attention_mask"].shape != ids.shape:
        raise ValueError(f"attention_mask is {list(batch['attention_mask'].shape)}, input_ids {list(ids.shape)}")
    return batch


def is_flat(examples: Rows) -> bool:
    """Whether documents stand end to end, in a batch without a dimension of rows."""
    return isinstance(examples, Mapping) and np.ndim(examples["input_ids"]) == 1


def flattened(batch: Batch) -> Batch:
    """A batch of one row without the dimension of rows.

    >>> flattened({"input_ids": torch.tensor([[5, 6, 7]]), "cu_seqlens": torch.tensor([0, 3])})
    {'input_ids': tensor([5, 6, 7]), 'cu_seqlens': tensor([0, 3])}
    """
    shape = batch["input_ids"].shape
    return {name: value[0] if np.shape(value)[:2] == shape else value for name, value in batch.items()}


_LENGTHS = "lengths of examples"


def _together(batch: Mapping[str, Any]) -> Batch:
    tensors = {name: _tensor(name, value) for name, value in batch.items()}
    if is_flat(batch):
        length = tensors["input_ids"].shape
        along = {name for name, value in tensors.items() if value.shape[:1] == length and name != "cu_seqlens"}
        tensors = {name: value[None] if name in along else value for name, value in tensors.items()}
    return tensors | {"input_ids": tensors["input_ids"].long()}


def _side_by_side(rows: Sequence[Mapping[str, Any]], padding: Padding) -> Batch:
    if not rows or any("input_ids" not in row for row in rows):
        raise ValueError("a batch needs examples, each with a column 'input_ids' of token ids")
    if odd := [i for i, row in enumerate(rows) if row.keys() != rows[0].keys()]:
        raise ValueError(
            f"example {odd[0]} of the batch has columns {sorted(rows[odd[0]])}, example 0 {sorted(rows[0])}"
        )
    lengths = [len(row["input_ids"]) for row in rows]
    if padding.token is None and len(set(lengths)) > 1:
        raise ValueError("examples differ in length, and the tokenizer has no padding token: set tokenizer.pad_token")
    width = max(lengths) if padding.multiple is None else -(-max(lengths) // padding.multiple) * padding.multiple
    before = [width - n if padding.side == "left" else 0 for n in lengths]
    fill = {"input_ids": padding.token or 0, **padding.fill}
    batch: Batch = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if [_length(value) for value in values] == lengths:
            batch[name] = _padded(name, values, before, width, fill.get(name, 0))
        else:
            batch[name] = _stacked(name, values)
    if "attention_mask" not in batch:
        at, first, n = torch.arange(width), torch.tensor(before)[:, None], torch.tensor(lengths)[:, None]
        batch[_LENGTHS] = ((at >= first) & (at < first + n)).long()
    return batch | {"input_ids": batch["input_ids"].long()}


def _length(value: Any) -> int | None:
    if isinstance(value, str | bytes):
        return None
    return len(value) if isinstance(value, Sequence) or np.ndim(value) else None


def _padded(name: str, values: Sequence[Any], before: Sequence[int], width: int, fill: int) -> Tensor:
    rows = [_tensor(name, value) for value in values]
    batch = torch.full((len(rows), width, *rows[0].shape[1:]), fill, dtype=rows[0].dtype)
    for row, tokens, start in zip(batch, rows, before, strict=True):
        row[start : start + len(tokens)] = tokens
    return batch


def _stacked(name: str, values: Sequence[Any]) -> Any:
    if isinstance(values[0], str | bytes | None):
        return list(values)
    rows = [_tensor(name, value) for value in values]
    if len({row.shape for row in rows}) > 1:
        raise ValueError(f"column {name!r} is neither as long as the tokens nor of one length in all examples: drop it")
    return torch.stack(rows)


def _tensor(name: str, value: Any) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"column {name!r} holds what is no tensor: {value!r:.80}") from error
