"""Runs of neighbouring words, counted over a corpus of any size in one pass and bounded memory."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from policylearn.masking.collocations import ngram_keys
from policylearn.masking.vocabulary import Vocabulary
from policylearn.scores.counting import WAITING
from policylearn.scores.lexicon import Lexicon
from policylearn.scores.reading import read, text_chunks
from policylearn.scores.sorted_keys import group, rows_of_keys

LIMIT = 2_000_000
"""Distinct n-grams of one length that are kept: 16 + 4 n bytes each, and three times that while merging."""


@dataclass(frozen=True)
class NGrams:
    """M runs of n words each.

    Attributes:
        keys: [M] int64, ascending, of `masking.collocations.ngram_keys`.
        counts: [M] int64, occurrences.
        words: [M, n] int32, row of each word in the lexicon they were counted with.
    """

    keys: np.ndarray
    counts: np.ndarray
    words: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: np.ndarray) -> "NGrams":
        """Some of them: ascending row numbers, or a boolean per row."""
        return NGrams(self.keys[rows], self.counts[rows], self.words[rows])

    def count(self, keys: np.ndarray) -> np.ndarray:
        """Occurrences of every key, 0 where it is not known."""
        return np.append(self.counts, 0)[rows_of_keys(self.keys, keys)]


def merge(parts: list[NGrams]) -> NGrams:
    """One table of all n-grams of several tables, their counts added up."""
    keys = np.concatenate([part.keys for part in parts])
    order, first = group(keys)
    counts = np.concatenate([part.counts for part in parts])[order]
    words, one = np.concatenate([part.words for part in parts]), order[first]
    return NGrams(keys[one], np.add.reduceat(counts, first) if len(first) else counts, words[one])


@dataclass
class NGramTally:
    """Adds up n-grams of n words, in memory for `limit` of them.

    Beyond the limit those of smallest count are forgotten (lossy counting, Manku & Motwani, VLDB 2002): no count is
    ever too high, and none too low by more than `missed`, the sum of the largest counts that were forgotten.

    Args:
        n: words per n-gram.
        limit: at most so many are kept.
    """

    n: int
    limit: int = LIMIT
    total: int = 0
    missed: int = 0
    _waiting: list[NGrams] = field(default_factory=list)

    def __post_init__(self) -> None:
        nothing = np.zeros(0, dtype=np.int64)
        self._kept = NGrams(nothing, nothing, np.zeros((0, self.n), dtype=np.int32))

    def add(self, found: NGrams) -> None:
        """Add the n-grams of the next chunk."""
        self.total += int(found.counts.sum())
        self._waiting.append(found)
        if sum(map(len, self._waiting)) >= max(WAITING, len(self._kept)):
            self.result()

    def result(self) -> NGrams:
        """What has been counted so far."""
        merged = merge([self._kept, *self._waiting])
        if len(merged) > self.limit:
            rank = len(merged) - self.limit - 1
            forgotten = int(np.partition(merged.counts, rank)[rank])
            self.missed += forgotten
            merged = merged.take(merged.counts > forgotten)
        self._kept, self._waiting = merged, []
        return merged


def runs(rows: np.ndarray, document: np.ndarray, keys: np.ndarray, longest: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """All runs of 1 … `longest` neighbouring words: for each length (keys, places of their first words), both [M].

    Args:
        rows: [W] row of each word in a lexicon; -1 for a word that no run may hold.
        document: [W] number of the text of each word: no run leaves its text.
        keys: [W] word keys.
        longest: words in the longest run.
    """
    # Two words that -1 or the end of a text parts are in different stretches.
    stretch = np.cumsum((rows < 0) | (np.diff(document, prepend=-1) != 0))
    found = []
    for n, run in enumerate(ngram_keys(torch.from_numpy(keys), longest), start=1):
        last = stretch[n - 1 :]
        place = ((rows[: len(last)] >= 0) & (stretch[: len(last)] == last)).nonzero()[0]
        found.append((run.numpy()[place], place))
    return found


def count_ngrams(
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    vocabulary: Vocabulary,
    lexicon: Lexicon,
    longest: int,
    limit: int = LIMIT,
) -> list[NGramTally]:
    """Count all runs of 1 … `longest` words of a stream of texts, a `NGramTally` for each length.

    Args:
        texts: the stream.
        tokenizer, vocabulary: of V types.
        lexicon: its words may stand in a run; any other ends it.
        longest: words in the longest run.
        limit: at most so many n-grams are kept per length.
    """
    tallies = [NGramTally(n, limit) for n in range(1, longest + 1)]
    for chunk in text_chunks(texts):
        reading = read(chunk, tokenizer, vocabulary)
        rows = lexicon.find(reading.keys).astype(np.int32)
        found = runs(rows, reading.document[reading.lead], reading.keys, longest)
        for tally, (keys, place) in zip(tallies, found, strict=True):
            words = rows[place[:, None] + np.arange(tally.n)]
            tally.add(merge([NGrams(keys, np.ones_like(keys), words)]))
    return tallies
