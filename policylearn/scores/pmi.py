"""Scorer of PMI-masking: words that belong to collocations."""

from collections.abc import Iterable

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from policylearn.masking.vocabulary import Vocabulary
from policylearn.policy.scores import Scores
from policylearn.scores.collocations import Collocations
from policylearn.scores.lexicon import Lexicon
from policylearn.scores.ngrams import runs
from policylearn.scores.reading import read, text_chunks
from policylearn.scores.sorted_keys import rows_of_keys
from policylearn.scores.sources import Sources


def best_scores(keys: np.ndarray, document: np.ndarray, collocations: Collocations) -> np.ndarray:
    """Score of the best collocation each word stands in, 0 where it stands in none; [W] float64.

    Args:
        keys: [W] word keys of texts, in reading order.
        document: [W] number of the text of each word.
        collocations: the table.
    """
    table, scores = collocations.keys.numpy(), collocations.scores.numpy()
    best = np.zeros(len(keys))
    anywhere = np.zeros(len(keys), dtype=np.int64)  # which words a run may hold is settled by the table
    for n, (run, first) in enumerate(runs(anywhere, document, keys, collocations.longest), start=1):
        if n == 1:
            continue
        row = rows_of_keys(table, run)
        found = row >= 0
        for place in range(n):
            at = first[found] + place
            best[at] = np.maximum(best[at], scores[row[found]])
    return best


def pmi(sources: Sources) -> Scores:
    """How strongly a word belongs to collocations: the mean, over its occurrences in the domain corpus, of the PMI of
    the best collocation it stands in (0 where it stands in none). A type's score is the mean over the words it is a
    piece of. Both are divided by the largest score of a word, so that 1 is the most; 0 where nothing was seen.
    """
    texts = sources.watch("collocations of the words of texts", sources.domain(), sources.domain_counts.documents)
    return mean_scores(texts, sources.tokenizer, sources.vocabulary, sources.lexicon, sources.collocations)


def mean_scores(
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    vocabulary: Vocabulary,
    lexicon: Lexicon,
    collocations: Collocations,
) -> Scores:
    """Mean of `best_scores` of every token type [V] and of every word of the lexicon [W], largest score 1.

    Words that do not occur are NaN, types that do not occur 0.
    """
    size = len(vocabulary.special)
    types, words = np.zeros((2, size)), np.zeros((2, len(lexicon) + 1))
    for chunk in text_chunks(texts):
        reading = read(chunk, tokenizer, vocabulary)
        best = best_scores(reading.keys, reading.document[reading.lead], collocations)
        row = lexicon.find(reading.keys)
        row[row < 0] = len(lexicon)
        for sums, at, value in ((types, reading.ids, best[reading.word]), (words, row, best)):
            sums += np.stack([np.bincount(at, weight, sums.shape[1]) for weight in (value, np.ones_like(value))])
    with np.errstate(invalid="ignore"):
        type_means, word_means = types[0] / types[1], words[0, :-1] / words[1, :-1]
    largest = max(np.nanmax(type_means, initial=0.0), np.nanmax(word_means, initial=0.0)) or 1.0
    return Scores(torch.from_numpy(np.nan_to_num(type_means) / largest), torch.from_numpy(word_means / largest))
