"""One pass over a corpus of any size: how often token types and words occur, and in how many texts.

A corpus is cut into chunks at places that depend on the texts alone; each chunk is counted by itself (`count_chunk`, a
pure function), and `Tally` adds the counts up in the order of the chunks. So counting the chunks elsewhere, in any
number of processes, gives the same integers.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from policylearn.masking.lengths import NO_BLANKS
from policylearn.masking.units import word_keys
from policylearn.masking.vocabulary import Vocabulary
from policylearn.scores.lexicon import PIECES, Lexicon, keys_of, merge
from policylearn.scores.reading import read, text_chunks

LIMIT = 2_000_000
"""Distinct words a tally keeps: about 120 MB."""
WAITING = 1 << 18
"""Words that wait at least before they are merged: merging a few into many costs as much as merging many."""


@dataclass(frozen=True)
class CorpusCounts:
    """Counts of a corpus, special tokens not added.

    Attributes:
        documents: number of texts, those without a token included.
        types: [V] int64, occurrences of every token id.
        type_documents: [V] int64, texts each token id occurs in.
        words: the words, of at most `lexicon.PIECES` pieces, with their occurrences and texts.
        total_words: occurrences of words of any length; special tokens ([UNK]) are no words, nor is a `▁` alone.
        missed: how many occurrences of a word may not be counted, and how often a word that is not in `words` may
            have occurred, at most: 0 unless the corpus had more than `LIMIT` distinct words.
    """

    documents: int
    types: np.ndarray
    type_documents: np.ndarray
    words: Lexicon
    total_words: int
    missed: int = 0

    @property
    def too_long(self) -> str:
        """Why words are lacking, to end a message with, where most have too many pieces; else nothing."""
        lost = self.total_words - int(self.words.counts.sum())
        if 2 * lost <= self.total_words or self.missed:
            return ""
        long = f"more than {PIECES} pieces and are not counted"
        return f". Of its {self.total_words:,} words {lost:,} have {long}: {NO_BLANKS}"


def count_corpus(
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    vocabulary: Vocabulary,
    only: np.ndarray | None = None,
    limit: int = LIMIT,
) -> CorpusCounts:
    """Count a stream of texts.

    Args:
        texts: the stream.
        tokenizer: a fast tokenizer.
        vocabulary: its tables over V types.
        only: sorted keys of the words to count, no others; None: all. The general corpus is counted with the keys of
            the domain's words, and then needs memory for those only, whatever its size.
        limit: at most so many distinct words; see `Tally`.
    """
    tally = Tally(len(vocabulary.special), limit)
    for chunk in text_chunks(texts):
        tally.add(count_chunk(chunk, tokenizer, vocabulary, only))
    return tally.total()


def count_chunk(
    texts: list[str], tokenizer: PreTrainedTokenizerBase, vocabulary: Vocabulary, only: np.ndarray | None = None
) -> CorpusCounts:
    """Count a few texts at once: see `count_corpus`."""
    size, reading = len(vocabulary.special), read(texts, tokenizer, vocabulary)
    ids, text = reading.ids, reading.document
    words = vocabulary.known.numpy()[ids[reading.lead]] | (reading.pieces > 1)
    lead, pieces = reading.lead[words], reading.pieces[words]
    alone = np.zeros(len(ids), dtype=bool)
    alone[lead[pieces == 1]] = True
    # Most words are one piece: they are counted along with the types, in one sort of (text, type, is it a word).
    seen = np.sort((text * size + ids) * 2 + alone)
    seen = seen[np.diff(seen, prepend=-1) > 0]
    typed = seen[np.diff(seen // 2, prepend=-1) > 0]
    longer = (pieces > 1) & (pieces <= PIECES)
    short = _short_words(ids[alone], seen[seen % 2 == 1] // 2 % size, size)
    lexicon = merge([short, _long_words(ids, text, lead[longer], pieces[longer])])
    return CorpusCounts(
        documents=len(texts),
        types=np.bincount(ids, minlength=size),
        type_documents=np.bincount(typed // 2 % size, minlength=size),
        words=lexicon if only is None else lexicon.among(only),
        total_words=len(lead),
    )


def _short_words(words: np.ndarray, once: np.ndarray, size: int) -> Lexicon:
    """Words of one piece, by the ids of all their occurrences, and by their ids once per text."""
    counts = np.bincount(words, minlength=size)
    types = counts.nonzero()[0]
    column = torch.from_numpy(types)[:, None]
    keys = word_keys(column, torch.zeros_like(column))[:, 0].numpy()
    pieces = np.full((len(types), PIECES), -1, dtype=np.int32)
    pieces[:, 0] = types
    return Lexicon(keys, counts[types], np.bincount(once, minlength=size)[types], pieces)


def _long_words(ids: np.ndarray, text: np.ndarray, lead: np.ndarray, pieces: np.ndarray) -> Lexicon:
    """Words of several pieces, by where they begin and how many `pieces` they have."""
    if not len(lead):
        return Lexicon.empty()
    place = np.arange(PIECES)
    spelt = np.where(place < pieces[:, None], ids[np.minimum(lead[:, None] + place, len(ids) - 1)], -1)
    keys = keys_of(spelt)
    order = np.argsort(keys, kind="stable")
    # The sort is stable, so a word's texts come in order and every change is a text more.
    new_word = np.diff(keys[order], prepend=~keys[order[:1]]) != 0
    new_text = new_word | (np.diff(text[lead[order]], prepend=-1) != 0)
    first = new_word.nonzero()[0]
    counts, documents = np.diff(first, append=len(order)), np.add.reduceat(new_text.astype(np.int64), first)
    return Lexicon(keys[order[first]], counts, documents, spelt[order[first]].astype(np.int32))


@dataclass
class Tally:
    """Adds up the counts of chunks, in memory for `limit` words.

    Beyond the limit the rarest words are forgotten: lossy counting (Manku & Motwani, VLDB 2002) with a threshold that
    goes by memory. A word is kept with the number of times it may have occurred before it was (last) taken up, which
    is `missed` at that time. What is forgotten are the words of smallest count plus that number, and `missed` becomes
    the largest such sum that was forgotten. So no count is ever too high, none is too low by more than `missed`, and
    every word that occurred more than `missed` times is there. When words are forgotten depends on the stream alone.

    Args:
        size: V.
        limit: at most so many words are kept.
    """

    size: int
    limit: int = LIMIT
    documents: int = 0
    total_words: int = 0
    missed: int = 0
    _words: Lexicon = field(default_factory=Lexicon.empty)
    _waiting: list[Lexicon] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._types, self._type_documents = np.zeros((2, self.size), dtype=np.int64)
        self._before = np.zeros(0, dtype=np.int64)

    def add(self, chunk: CorpusCounts) -> None:
        """Add the counts of the next chunk."""
        self.documents += chunk.documents
        self.total_words += chunk.total_words
        self._types += chunk.types
        self._type_documents += chunk.type_documents
        self._waiting.append(chunk.words)
        # As many wait as there are, so that every word is merged a logarithmic number of times.
        if sum(map(len, self._waiting)) >= max(WAITING, len(self._words)):
            self._merge()

    def _merge(self) -> None:
        merged = merge([self._words, *self._waiting])
        before = np.full(len(merged), self.missed)
        before[merged.find(self._words.keys)] = self._before
        if len(merged) > self.limit:
            possible = merged.counts + before
            rank = len(merged) - self.limit - 1
            self.missed = int(np.partition(possible, rank)[rank])
            kept = possible > self.missed
            merged, before = merged.take(kept), before[kept]
        self._words, self._before, self._waiting = merged, before, []

    def total(self) -> CorpusCounts:
        """What has been counted so far."""
        self._merge()
        counts = self._types.copy(), self._type_documents.copy()
        return CorpusCounts(self.documents, *counts, self._words, self.total_words, self.missed)
