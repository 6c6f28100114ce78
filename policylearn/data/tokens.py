"""Tokenised texts, held as one flat array: a million documents are two numpy arrays, not a million lists."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

CHUNK = 1000


@dataclass(frozen=True)
class TokenRows:
    """Rows of token ids of different lengths: row i is `flat[offsets[i] : offsets[i + 1]]`."""

    flat: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.flat[self.offsets[row] : self.offsets[row + 1]]

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


def tokenize(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, max_length: int, split: bool = False
) -> TokenRows:
    """Tokenise a stream of texts, a chunk at a time, special tokens added.

    Args:
        texts: the stream.
        tokenizer: a fast tokenizer.
        max_length: tokens per row.
        split: a text that is longer goes on in further rows (corpora); else it is cut (labelled texts).
    """
    pieces, lengths = [], [0]
    for chunk in chunks(texts, CHUNK):
        limits = {"truncation": True, "max_length": max_length, "return_overflowing_tokens": split}
        for ids in tokenizer(chunk, **limits)["input_ids"]:
            pieces.append(np.asarray(ids, dtype=np.int32))
            lengths.append(len(ids))
    flat = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int32)
    return TokenRows(flat, np.cumsum(lengths))


def chunks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Successive lists of at most `size` texts."""
    stream = iter(texts)
    while chunk := list(islice(stream, size)):
        yield chunk
