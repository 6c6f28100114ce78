"""InforMask (Sadeq, Xu & McAuley, EMNLP 2022): tokens that say much about their context are worth masking."""

from collections.abc import Iterable

import numpy as np
import torch

from policylearn.policy.scores import Scores
from policylearn.scores.reading import Reading, read, text_chunks
from policylearn.scores.sources import Sources

TYPES = 4096
"""M, token types that take part: the most frequent ones. Their pairs take 8 M² bytes, 134 MB, at the end twice that."""
WINDOW = 16
"""Tokens of context on either side."""
PRIOR = 5.0
"""Pairs that every two types are taken to have had by chance, beside those seen."""
BLOCK = 256


def frequent_types(counts: np.ndarray, allowed: np.ndarray, most: int) -> np.ndarray:
    """Ids of the `most` allowed types that occur most often, and at least once; of equals those of smaller id.

    Args:
        counts: [V] occurrences.
        allowed: [V] boolean.
        most: at most so many.

    >>> frequent_types(np.array([5, 0, 9, 9]), np.array([True, True, True, True]), most=2)
    array([2, 3])
    """
    ranked = np.argsort(np.where(allowed, -counts, 1), kind="stable")[:most]
    return ranked[allowed[ranked] & (counts[ranked] > 0)]


def count_pairs(readings: Iterable[Reading], types: np.ndarray, size: int, window: int = WINDOW) -> np.ndarray:
    """How often two types stand within `window` tokens of each other, in one text but not in one word.

    That "##hub" follows "git" says nothing about either. Takes time linear in tokens · window, and memory for M²
    integers whatever the size of the corpus.

    Args:
        readings: the corpus, a few texts at a time.
        types: [M] ids of the types that take part; distances count the others too.
        size: V.
        window: the farthest apart, in tokens.

    Returns:
        [M, M] int64, symmetric.
    """
    m = len(types)
    number = np.full(size, -1)
    number[types] = np.arange(m)
    pairs = np.zeros(m * m, dtype=np.int64)
    for reading in readings:
        ranks, document, word = number[reading.ids], reading.document, reading.word
        for distance in range(1, min(window, len(ranks) - 1) + 1):
            one, other = ranks[:-distance], ranks[distance:]
            apart = (document[:-distance] == document[distance:]) & (word[:-distance] != word[distance:])
            used = apart & (one >= 0) & (other >= 0)
            np.add.at(pairs, one[used] * m + other[used], 1)
    square = pairs.reshape(m, m)
    return square + square.T


def mean_pmi(pairs: np.ndarray, prior: float = PRIOR) -> np.ndarray:
    """Mean pointwise mutual information of each type a with the tokens b around it, [M] float64 in nats.

        score(a) = Σ_b n(a, b) · PMI(a, b) / n(a),    PMI(a, b) = log (n(a, b) + prior) / (n(a) · n(b) / n + prior)

    over all occurrences of a and all tokens b around them, n(a) = Σ_b n(a, b), n = Σ_a n(a). With prior 0 this is
    log p(a, b) / (p(a) p(b)), and the score the Kullback-Leibler divergence of a's context from all contexts: never
    negative, 0 for a type that stands anywhere alike. But then a pair seen once weighs as if it were known, and the
    score says little more than how rare a type is; the prior draws such pairs to 0.

    Args:
        pairs: [M, M] of `count_pairs`.
        prior: pairs had by chance, beside those seen.

    Returns:
        [M]; NaN for a type with no context.

    >>> mean_pmi(np.array([[0, 3], [3, 0]]), prior=0)  # each other's only context: log 2
    array([0.69314718, 0.69314718])
    """
    total, margin = max(pairs.sum(), 1), pairs.sum(1)
    scores = np.full(len(pairs), np.nan)
    for begin in range(0, len(pairs), BLOCK):  # a few rows at a time: the logarithms need room as well
        block, margins = pairs[begin : begin + BLOCK], margin[begin : begin + BLOCK]
        at, other = block.nonzero()
        joint = block[at, other]
        chance = margins[at] * (margin[other] / total)
        weighted = np.bincount(at, joint * np.log((joint + prior) / (chance + prior)), len(block))
        np.divide(weighted, margins, out=scores[begin : begin + BLOCK], where=margins > 0)
    return scores


def informative(sources: Sources) -> Scores:
    """Informative relevance of token types: `mean_pmi` in the domain corpus, largest score 1.

    The `TYPES` most frequent types take part. The others (rarer, special, or never beside one of these) get the mean
    score of those that do, and so are neither sought nor avoided: too little is known of what stands around them.

    Raises:
        ValueError: no two of these types stand together in any text.
    """
    tokenizer, vocabulary, counts = sources.tokenizer, sources.vocabulary, sources.domain_counts.types
    types = frequent_types(counts, ~vocabulary.special.numpy()[: len(counts)], TYPES)
    texts = sources.watch("counting neighbours in texts", sources.domain(), sources.domain_counts.documents)
    readings = (read(chunk, tokenizer, vocabulary) for chunk in text_chunks(texts))
    scores = mean_pmi(count_pairs(readings, types, len(counts)))
    known = ~np.isnan(scores)
    if not known.any():
        why = sources.domain_counts.too_long
        raise ValueError(f"no text of the domain corpus holds two words: check domain.path and domain.text{why}")
    every = np.full(len(vocabulary.special), scores[known].mean())
    every[types[known]] = scores[known]
    return Scores(torch.from_numpy(every / (max(every.max(), 0.0) or 1.0)))
