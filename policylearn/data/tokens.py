"""Tokenised texts, held as flat arrays: ten million texts are two numpy arrays, the larger on disk, and no lists."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.data.gathered import Gathered

CHUNK = 1000

Item = TypeVar("Item")
Text = str | tuple[str, ...]
"""One text, a pair of them that a tokenizer makes one row of, or (of a task of tags) the words of one."""
Annotated = tuple[Any, Mapping[str, np.ndarray]]
"""A text (or, without numbers, a pair), and by name one number for each of its characters, float32 [characters]; see
`data.columns`."""


@dataclass(frozen=True)
class TokenRows:
    """Rows of token ids of different lengths: row i is `flat[offsets[i] : offsets[i + 1]]`.

    Attributes:
        flat: token ids of all rows.
        offsets: [rows + 1].
        columns: by name one number per token, float32 of the shape of `flat`; NaN where not known.
        cut: how many texts were longer than a row, and lost what was too much.
    """

    flat: np.ndarray
    offsets: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    cut: int = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.flat[self.offsets[row] : self.offsets[row + 1]]

    def lengths(self, rows: Iterable[int]) -> list[int]:
        """Tokens of the given rows."""
        return [len(self[int(row)]) for row in rows]

    def take(self, rows: Iterable[int]) -> "TokenRows":
        """Some of the rows, in the order given, with their columns.

        >>> rows = TokenRows(np.array([5, 6, 7]), np.array([0, 2, 3]))
        >>> rows.take([1, 0]).flat
        array([7, 5, 6])
        """
        spans = [np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows]
        at = np.concatenate([np.zeros(0, dtype=np.int64), *spans])
        columns = {name: values[at] for name, values in self.columns.items()}
        return TokenRows(self.flat[at], np.cumsum([0, *map(len, spans)]), columns)

    def holding(self, these: np.ndarray, more_than: int = 0) -> np.ndarray:
        """Numbers of the rows with more than so many tokens of these types, [V] boolean.

        >>> TokenRows(np.array([0, 0, 1]), np.array([0, 1, 3])).holding(np.array([False, True]))
        array([1])
        """
        found = []
        for first in range(0, len(self), CHUNK):
            offsets = self.offsets[first : first + CHUNK + 1]
            counted = np.append(0, np.cumsum(these[self.flat[offsets[0] : offsets[-1]]]))
            at = counted[offsets - offsets[0]]
            found.append(first + np.flatnonzero(np.diff(at) > more_than))
        return np.concatenate([np.zeros(0, np.int64), *found])

    def contents(self) -> Iterator[bytes]:
        """All that they hold, for keys."""
        for array in (self.flat, self.offsets, *(self.columns[name] for name in sorted(self.columns))):
            yield array.tobytes()

    def spread(self, most: int) -> np.ndarray:
        """Numbers of `most` rows, evenly spaced from the first to the last; of all rows if there are no more.

        >>> TokenRows(np.arange(9), np.arange(10)).spread(3)
        array([0, 4, 8])
        """
        return np.linspace(0, len(self) - 1, min(most, len(self))).astype(np.int64)

    def by_length(self, size: int) -> list[np.ndarray]:
        """All row numbers, longest rows first, in batches of `size`: rows of one batch need little padding."""
        order = np.argsort(-np.diff(self.offsets), kind="stable")
        return [order[i : i + size] for i in range(0, len(order), size)]

    def batch(self, rows: Iterable[int], pad_id: int) -> tuple[Tensor, Tensor]:
        """The given rows, padded on the right to the longest: (input_ids, real), both [B, T] int64 / bool.

        >>> rows = TokenRows(np.array([5, 6, 7]), np.array([0, 2, 3]))
        >>> rows.batch([0, 1], pad_id=0)[0]
        tensor([[5, 6],
                [7, 0]])
        """
        picked = [self[row] for row in rows]
        lengths = torch.tensor([len(row) for row in picked])
        input_ids = np.full((len(picked), int(lengths.max())), pad_id, dtype=np.int64)
        for i, row in enumerate(picked):
            input_ids[i, : len(row)] = row
        return torch.from_numpy(input_ids), torch.arange(input_ids.shape[1]) < lengths[:, None]

    def values(self, rows: Iterable[int], width: int) -> dict[str, Tensor]:
        """The columns of the given rows, padded on the right with 0 to the width of their batch: [B, width] each.

        >>> rows = TokenRows(np.array([5, 6, 7]), np.array([0, 2, 3]), {"entity": np.float32([0, 1, 1])})
        >>> rows.values([0, 1], width=2)
        {'entity': tensor([[0., 1.],
                [1., 0.]])}
        """
        spans = [(self.offsets[row], self.offsets[row + 1]) for row in rows]
        found = {name: np.zeros((len(spans), width), dtype=np.float32) for name in self.columns}
        for name, values in self.columns.items():
            for i, (start, end) in enumerate(spans):
                found[name][i, : end - start] = values[start:end]
        return {name: torch.from_numpy(values) for name, values in found.items()}


def tokenize(
    texts: Iterable[Text], tokenizer: PreTrainedTokenizerBase, max_length: int, split: bool = False
) -> TokenRows:
    """Tokenise a stream of texts, a chunk at a time, special tokens added.

    Args:
        texts: the stream; of a pair too long, the longer text loses its last token first.
        tokenizer: a fast tokenizer.
        max_length: tokens per row.
        split: a text that is longer goes on in further rows (corpora); else it is cut (labelled texts).
    """
    return tokenize_annotated(((text, {}) for text in texts), tokenizer, max_length, split)


def tokenize_annotated(
    texts: Iterable[Annotated], tokenizer: PreTrainedTokenizerBase, max_length: int, split: bool = False
) -> TokenRows:
    """`tokenize` for texts with numbers on their characters, of which a token has one, see `at_tokens`. All texts
    have numbers of the same names, which become the columns of the rows."""
    flat, lengths, columns, cut = Gathered(np.int32), Gathered(np.int64), dict[str, Gathered](), 0
    for chunk in chunks(texts, CHUNK):
        names = tuple(chunk[0][1])
        limits = {"truncation": True, "max_length": max_length, "return_overflowing_tokens": split}
        encoded = tokenizer([text for text, _ in chunk], **limits, return_offsets_mapping=bool(names))
        rows = encoded["input_ids"]
        lengths.add(np.fromiter(map(len, rows), np.int64, len(rows)))
        flat.add(np.fromiter(chain.from_iterable(rows), np.int32))
        cut += 0 if split else sum(bool(one.overflowing) for one in encoded.encodings or [])
        for name in names:
            columns.setdefault(name, Gathered(np.float32)).add(np.concatenate(_carried(name, chunk, encoded)))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths.array())])
    return TokenRows(flat.array(), offsets, {name: found.array() for name, found in columns.items()}, cut)


def _carried(name: str, chunk: list[Annotated], encoded: Mapping) -> list[np.ndarray]:
    """Values of the tokens of all rows that a text became, for every text of the chunk."""
    spans: list[list[tuple[int, int]]] = [[] for _ in chunk]
    text_of = encoded.get("overflow_to_sample_mapping", range(len(chunk)))
    for i, row in zip(text_of, encoded["offset_mapping"], strict=True):
        spans[i] += row
    return [
        at_tokens(text, values[name], np.asarray(own, dtype=np.int64).reshape(-1, 2))
        for (text, values), own in zip(chunk, spans, strict=True)
    ]


def at_tokens(text: str, characters: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Values [T] of tokens that cover characters `spans[t, 0]` to before `spans[t, 1]` of the text: that of the first
    character that is no white space. A blank right before a word is of the word; other tokens without such a character
    have 0 (special tokens, line breaks).

    Args:
        text: the text.
        characters: [characters] float32.
        spans: [T, 2] int64.

    >>> at_tokens("a bc", np.float32([1, 0, 2, 3]), np.array([[0, 0], [0, 1], [1, 3], [3, 4]]))
    array([0., 1., 2., 3.], dtype=float32)
    >>> at_tokens("a bc", np.float32([1, 0, 2, 3]), np.array([[0, 1], [1, 2], [2, 4]]))
    array([1., 2., 2.], dtype=float32)
    """
    (begin, end), length = spans.T, len(text)
    solid = np.array([length if c.isspace() else i for i, c in enumerate(text)] + [length])
    blank = np.array([c == " " for c in text] + [False])
    first = np.minimum.accumulate(solid[::-1])[::-1][begin]
    padded = np.append(characters, np.float32(0)).astype(np.float32)
    own = (first < end) | ((first == end) & blank[end - 1])  # of a blank that is trimmed, begin is end
    return np.where(own, padded[first], np.float32(0))


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Successive lists of at most `size` items."""
    stream = iter(items)
    while chunk := list(islice(stream, size)):
        yield chunk
