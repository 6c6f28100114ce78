"""The rows that a training goes through: a text each, whole texts packed together, or pictures."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from policylearn.collator.patch_collator import PIXELS
from policylearn.collator.policy_collator import PolicyCollator
from policylearn.data.pictures import PatchRows
from policylearn.data.tokens import TokenRows

DOCUMENT = "seq_idx"
"""The column that numbers the texts of a packed row, for the collator alone."""


def packed(lengths: Sequence[int], size: int) -> list[range]:
    """Numbers of neighbouring texts that share a row of at most `size` tokens, in order.

    >>> packed([3, 4, 2, 6, 1], 7)
    [range(0, 2), range(2, 3), range(3, 5)]
    """
    rows, first, used = [], 0, 0
    for number, length in enumerate(lengths):
        if used and used + length > size:
            rows.append(range(first, number))
            first, used = number, 0
        used += length
    return [*rows, range(first, len(lengths))] if len(lengths) else rows


class TextRows(Dataset):
    """Rows as `PolicyCollator` takes them: `input_ids`, and for packed ones which text a token is of.

    Args:
        texts: the corpus.
        scorers: names of the columns of scores that the policy reads.
        size: tokens of a packed row; None: a text is a row.
    """

    def __init__(self, texts: TokenRows, scorers: Collection[str], size: int | None = None) -> None:
        self.texts, self.packing = texts, size is not None
        self.scorers = [name for name in texts.columns if name in scorers]
        lengths = np.diff(texts.offsets).tolist()
        self.rows = [range(i, i + 1) for i in range(len(lengths))] if size is None else packed(lengths, size)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, list]:
        numbers = self.rows[row]
        start, end = self.texts.offsets[numbers[0]], self.texts.offsets[numbers[-1] + 1]
        found = {"input_ids": self.texts.flat[start:end].tolist()}
        found |= {name: self.texts.columns[name][start:end].tolist() for name in self.scorers}
        if self.packing:
            lengths = np.diff(self.texts.offsets[numbers[0] : numbers[-1] + 2])
            found[DOCUMENT] = np.repeat(np.arange(len(numbers)), lengths).tolist()
            found["attention_mask"] = [1] * int(end - start)
        return found


class PictureRows(Dataset):
    """Pictures as `PatchCollator` takes them: `pixel_values` [channels, height, width] float32, as policies are of
    them.

    Args:
        pictures: the corpus.
    """

    def __init__(self, pictures: PatchRows) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        x, _ = self.pictures.batch([row])
        return {PIXELS: self.pictures.grid.pixels(x)[0]}


class Unnumbered:
    """A collator whose batches keep the numbers of texts to themselves: models know no such column."""

    def __init__(self, collator: PolicyCollator) -> None:
        self.collator = collator

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        batch = self.collator(rows)
        return {name: column for name, column in batch.items() if name != DOCUMENT}
