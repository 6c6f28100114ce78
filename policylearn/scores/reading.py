"""A corpus read a few texts at a time: token ids, and where words begin among them, as flat arrays."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from policylearn.masking.units import word_keys, word_starts
from policylearn.masking.vocabulary import Vocabulary

TEXTS, CHARACTERS = 1000, 2_000_000
"""A chunk ends after so many texts, or with the text that brings it to so many characters."""
BLOCK = 1 << 14
"""Tokens whose words are looked for at once, if texts end there: torch handles so few in one thread, and on a busy
machine threads wait for each other longer than they work."""


def text_chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """The chunks a stream of texts is read in; where they end depends on the texts alone."""
    chunk: list[str] = []
    characters = 0
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if len(chunk) == TEXTS or characters >= CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


@dataclass(frozen=True)
class Reading:
    """N tokens of a few texts, one text after the other, and the W words they make.

    Attributes:
        ids: [N] int64, special tokens not added.
        document: [N] int64, number of the text.
        lead: [W] int64, first token of each word.
    """

    ids: np.ndarray
    document: np.ndarray
    lead: np.ndarray

    @cached_property
    def word(self) -> np.ndarray:
        """[N] int64, number of the word each token belongs to."""
        return np.repeat(np.arange(len(self.lead)), self.pieces)

    @cached_property
    def pieces(self) -> np.ndarray:
        """[W] int64, tokens of each word."""
        return np.diff(self.lead, append=len(self.ids))

    @cached_property
    def keys(self) -> np.ndarray:
        """[W] int64, of `units.word_keys`."""
        if not len(self.lead):
            return self.lead
        flat, lead = torch.from_numpy(self.ids)[None], torch.from_numpy(self.lead[self.word])[None]
        return word_keys(flat, lead)[0].numpy()[self.lead]


def read(texts: list[str], tokenizer: PreTrainedTokenizerBase, vocabulary: Vocabulary) -> Reading:
    """Tokens and words of a few texts at once."""
    settings = {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False}
    rows = tokenizer(texts, **settings, verbose=False)["input_ids"]
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    ids = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
    document = np.repeat(np.arange(len(rows)), lengths)
    first = (np.diff(document, prepend=-1) > 0).nonzero()[0]
    cuts = first[np.diff(first // BLOCK, prepend=0) > 0]
    blocks = zip(np.split(ids, cuts), np.split(document, cuts), strict=True)
    starts = np.concatenate([_starts(*block, vocabulary) for block in blocks])
    return Reading(ids, document, starts.nonzero()[0])


def _starts(ids: np.ndarray, document: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """`word_starts` of whole texts one after the other, [N]."""
    if not len(ids):
        return np.zeros(0, dtype=bool)
    # One row, with a place that is no token before every text: there words end, as they do after [CLS].
    place = np.arange(len(ids)) + (document - document[0]) + 1
    row = torch.zeros(1, int(place[-1]) + 1, dtype=torch.long)
    real = torch.zeros_like(row, dtype=torch.bool)
    row[0, place], real[0, place] = torch.from_numpy(ids), True
    return word_starts(row, real, vocabulary)[0, place].numpy()
