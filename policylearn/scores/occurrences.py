"""From values of single tokens in their texts to scores of token types and words: means over occurrences."""

from dataclasses import replace

import torch
from torch import Tensor

from policylearn.masking.units import leads, word_keys, word_starts
from policylearn.masking.vocabulary import Vocabulary
from policylearn.policy.scores import Scores
from policylearn.scores.lexicon import Lexicon

PRIOR = 5
"""Occurrences that a shrunk mean adds to those seen."""


class Means:
    """Running means of values in `size` bins; NaN where a bin has none.

    Attributes:
        sums, squares: [size], of the values and of their squares.
        counts: [size], how many there were.
    """

    def __init__(self, size: int) -> None:
        self.sums = torch.zeros(size, dtype=torch.float64)
        self.squares = torch.zeros(size, dtype=torch.float64)
        self.counts = torch.zeros(size, dtype=torch.int64)

    def add(self, bins: Tensor, values: Tensor) -> None:
        """Add values [N] to bins [N]."""
        self.sums.index_add_(0, bins, values.double())
        self.squares.index_add_(0, bins, values.double().square())
        self.counts += bins.bincount(minlength=len(self.counts))

    def __call__(self, shrunk: bool = False) -> Tensor:
        """The means, float64; with `shrunk` as if every bin had `PRIOR` more values, of the mean of all, so that one
        lucky occurrence does not make an extreme. A bin without a value stays NaN.

        >>> means = Means(3)
        >>> means.add(torch.tensor([0, 0, 1]), torch.tensor([1.0, 1.0, 4.0]))
        >>> means(), means(shrunk=True)
        (tensor([1., 4., nan], dtype=torch.float64), tensor([1.7143, 2.3333,    nan], dtype=torch.float64))
        """
        if not shrunk:
            return self.sums / self.counts
        overall = self.sums.sum() / self.counts.sum()
        return torch.where(self.counts > 0, (self.sums + PRIOR * overall) / (self.counts + PRIOR), torch.nan)


class OccurrenceMeans:
    """Means of token values over the occurrences of every type, and of every word of a lexicon.

    An occurrence of a word has the mean of its pieces. Special tokens, padding and NaN (not known) do not count.

    Args:
        vocabulary: tables of V types.
        lexicon: W words.
    """

    def __init__(self, vocabulary: Vocabulary, lexicon: Lexicon) -> None:
        self.vocabulary = vocabulary
        self.lexicon = lexicon
        self.types, self.words = Means(len(vocabulary.special)), Means(len(lexicon))

    def add(self, input_ids: Tensor, real: Tensor, values: Tensor) -> None:
        """Add a batch: ids, real (not padding) and values, each [B, T]."""
        known = real & ~self.vocabulary.special[input_ids] & ~values.isnan()
        self.types.add(input_ids[known], values[known])
        lead = leads(word_starts(input_ids, real, self.vocabulary))
        nothing = torch.zeros_like(values, dtype=torch.float64)
        total = nothing.scatter_add(1, lead, torch.where(known, values.double(), 0.0))
        pieces = nothing.scatter_add(1, lead, known.double())
        at = pieces > 0
        word = torch.from_numpy(self.lexicon.find(word_keys(input_ids, lead)[at].numpy()))
        self.words.add(word[word >= 0], (total[at] / pieces[at])[word >= 0])

    def scores(self, unseen: float | None = None, shrunk: bool = False) -> Scores:
        """Means of types and words; a type never seen gets `unseen`, or (None) the mean of those seen."""
        types = self.types(shrunk)
        return Scores(types.nan_to_num(float(types.nanmean()) if unseen is None else unseen), self.words(shrunk))


def largest_is_one(scores: Scores) -> Scores:
    """The same scores, not negative, divided by the largest of a type or word.

    >>> largest_is_one(Scores(torch.tensor([1.0, 2.0]), torch.tensor([4.0, torch.nan])))
    Scores(types=tensor([0.2500, 0.5000]), words=tensor([1., nan]), learned_from='')
    """
    parts = [scores.types] if scores.words is None else [scores.types, scores.words[~scores.words.isnan()]]
    largest = torch.cat(parts).amax().clamp(min=torch.finfo(torch.float32).tiny)
    words = None if scores.words is None else scores.words / largest
    return replace(scores, types=scores.types / largest, words=words)
