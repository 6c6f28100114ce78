"""TF-ICF and IDF: which words are typical of the domain, and which are rare in it, from counts alone."""

import numpy as np

from policylearn.scores.counting import CorpusCounts


def tficf(domain: np.ndarray, domain_total: int, general: np.ndarray, general_total: int) -> np.ndarray:
    """Term frequency × inverse corpus frequency.

        TF-ICF(w) = count_domain(w) / |domain| · log(|general| / (count_general(w) + 1))

    as Difference-Masking has it (Wilf et al., Findings of EMNLP 2023), after TF-ICF of Reed et al. (ICMLA 2006).

    Args:
        domain, general: [n] counts of words, or of token types.
        domain_total, general_total: |·|, the sizes of the corpora in words, or in tokens.

    Returns:
        [n] float64; 0 for what never occurs in the domain.

    Raises:
        ValueError: a corpus is empty.

    >>> tficf(np.array([5, 5, 0]), 10, np.array([99, 0, 1]), 100).round(3)
    array([0.   , 2.303, 0.   ])
    """
    for name, total in (("domain", domain_total), ("general", general_total)):
        check_not_empty(name, total)
    return domain / domain_total * np.log(general_total / (general + 1))


def idf(document_counts: np.ndarray, documents: int) -> np.ndarray:
    """Inverse document frequency, idf(w) = log((1 + N) / (1 + df(w))) for df(w) of N texts (Spärck Jones, 1972).

    The ones keep it finite for what never occurs, and at 0 for what occurs in every text.

    >>> idf(np.array([0, 1, 3]), 3).round(3)
    array([1.386, 0.693, 0.   ])
    """
    return np.log((1 + documents) / (1 + document_counts))


def check_not_empty(corpus: str, total: int) -> None:
    """Raises ValueError, with the settings to look at, if a corpus has no words (of `total`)."""
    if total == 0:
        raise ValueError(
            f"the {corpus} corpus holds no word the tokenizer knows: check {corpus}.path, {corpus}.text and "
            "model.tokenizer"
        )


def counts_of(keys: np.ndarray, corpus: CorpusCounts) -> np.ndarray:
    """Occurrences of words, given by their keys, in a corpus; int64."""
    row = corpus.words.find(keys)
    return np.where(row >= 0, np.append(corpus.words.counts, 0)[row], 0)


def word_tficf(domain: CorpusCounts, general: CorpusCounts) -> np.ndarray:
    """`tficf` of every word of the domain, float64."""
    return tficf(domain.words.counts, domain.total_words, counts_of(domain.words.keys, general), general.total_words)
