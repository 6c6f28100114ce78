"""The words of a corpus as arrays, sorted by key."""

from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from policylearn.masking.units import word_keys
from policylearn.scores.sorted_keys import group, rows_of_keys

PIECES = 8
"""Words of more pieces are in no lexicon: they are rare, and mostly no words (addresses, sequences, noise)."""


@dataclass(frozen=True)
class Lexicon:
    """W words, known by the key of their pieces (`masking.units.word_keys`).

    Attributes:
        keys: [W] int64, ascending.
        counts: [W] int64, occurrences.
        documents: [W] int64, texts the word occurs in.
        pieces: [W, PIECES] int32, token ids, filled up with -1.

    >>> pieces = np.full((2, PIECES), -1, dtype=np.int32)
    >>> lexicon = Lexicon(np.array([-7, 5]), np.array([3, 1]), np.array([2, 1]), pieces)
    >>> lexicon.find(np.array([5, 6, -7]))
    array([ 1, -1,  0])
    """

    keys: np.ndarray
    counts: np.ndarray
    documents: np.ndarray
    pieces: np.ndarray

    @staticmethod
    def empty() -> "Lexicon":
        """No words."""
        nothing = np.zeros(0, dtype=np.int64)
        return Lexicon(nothing, nothing, nothing, np.zeros((0, PIECES), dtype=np.int32))

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Row of every key, -1 where it is not a word of this lexicon; int64 of the shape of `keys`."""
        return rows_of_keys(self.keys, keys)

    def take(self, rows: np.ndarray) -> "Lexicon":
        """Some of the words: a boolean per row, or row numbers (ascending, if words are to be found by key)."""
        return Lexicon(self.keys[rows], self.counts[rows], self.documents[rows], self.pieces[rows])

    def among(self, keys: np.ndarray) -> "Lexicon":
        """The words whose key is one of `keys` (sorted)."""
        return self.take(rows_of_keys(keys, self.keys) >= 0)

    def most_frequent(self, n: int, min_count: int = 1) -> "Lexicon":
        """The `n` words that occur most often, and at least `min_count` times; of equals those of smaller key."""
        rows = np.argsort(-self.counts, kind="stable")[:n]
        return self.take(np.sort(rows[self.counts[rows] >= min_count]))

    def texts(self, tokenizer: PreTrainedTokenizerBase) -> list[str]:
        """The words as people read them; pieces that are no text by themselves (half a character) become �."""
        spelt = [[int(piece) for piece in row if piece >= 0] for row in self.pieces]
        if not spelt:  # of which some tokenizers make one text
            return []
        return [text.strip() for text in tokenizer.batch_decode(spelt, clean_up_tokenization_spaces=False)]


def keys_of(pieces: np.ndarray) -> np.ndarray:
    """Keys [W] of words, from their token ids [W, n], filled up with -1: `word_keys` without a text."""
    used = pieces >= 0
    size = used.sum(1)
    begin = np.cumsum(size) - size
    flat, lead = torch.from_numpy(pieces[used])[None], torch.from_numpy(np.repeat(begin, size))[None]
    return word_keys(flat, lead)[0].numpy()[begin]


def merge(parts: list[Lexicon]) -> Lexicon:
    """One lexicon of all words of several, their counts added up."""
    keys = np.concatenate([part.keys for part in parts])
    order, first = group(keys)
    if not len(first):
        return Lexicon.empty()
    counts = np.concatenate([part.counts for part in parts])[order]
    documents = np.concatenate([part.documents for part in parts])[order]
    pieces, one = np.concatenate([part.pieces for part in parts]), order[first]
    return Lexicon(keys[one], np.add.reduceat(counts, first), np.add.reduceat(documents, first), pieces[one])
