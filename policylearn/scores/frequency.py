"""Scorers that need only counts."""

import numpy as np
import torch

from policylearn.policy.scores import Scores
from policylearn.scores.occurrences import largest_is_one
from policylearn.scores.sources import Sources
from policylearn.scores.tficf import check_not_empty, idf, tficf, word_tficf


def by_tficf(sources: Sources) -> Scores:
    """How typical of the domain types and words are, see `tficf`; largest score 1."""
    domain, general = sources.domain_counts, sources.general_counts
    # [UNK], and a ▁ before it, are as frequent as the tokenizer is foreign.
    counts = domain.types * sources.known, general.types * sources.known
    types = tficf(counts[0], counts[0].sum(), counts[1], counts[1].sum())
    words = word_tficf(domain, general)[domain.words.find(sources.lexicon.keys)]
    # A word that is nearly all of the general corpus is below 0, and no more typical for that.
    return largest_is_one(_scores(types.clip(min=0), words.clip(min=0)))


def by_idf(sources: Sources) -> Scores:
    """How rare types and words are in the domain's texts, see `idf`: a type that never occurs in them has the highest
    score, 1."""
    counts, lexicon = sources.domain_counts, sources.lexicon
    check_not_empty("domain", counts.total_words)
    types = idf(counts.type_documents, counts.documents) * sources.known
    return largest_is_one(_scores(types, idf(lexicon.documents, counts.documents)))


def uniform(sources: Sources) -> Scores:
    """All alike."""
    return Scores(torch.zeros(len(sources.vocabulary.special)))


def _scores(types: np.ndarray, words: np.ndarray) -> Scores:
    return Scores(torch.from_numpy(types), torch.from_numpy(words))
