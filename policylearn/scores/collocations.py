"""PMI-masking (Levine et al., ICLR 2021): which runs of words belong together, and which words stand in such runs."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.config.scores import PmiConfig
from policylearn.masking.collocations import ngram_keys
from policylearn.masking.vocabulary import Vocabulary
from policylearn.scores.lexicon import Lexicon
from policylearn.scores.ngrams import LIMIT, NGrams, NGramTally, count_ngrams

LINKS = {"-", "'", "‐", "’"}
"""What may stand inside a collocation, but at neither end of it: "part-of-speech" is five words to many tokenizers."""


@dataclass(frozen=True)
class Collocations:
    """C collocations, as `masking.collocations.join_collocations` wants them.

    Attributes:
        keys: [C] int64, ascending, of `masking.collocations.ngram_keys`.
        scores: [C] float32, PMI in nats.
        counts: [C] int64, occurrences.
        words: [C, longest] int32, rows of their words in the lexicon they were counted with, filled up with -1.
    """

    keys: Tensor
    scores: Tensor
    counts: Tensor
    words: Tensor

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def longest(self) -> int:
        """Words in the longest of them."""
        return int((self.words >= 0).sum(1).max()) if len(self) else 0

    def texts(self, lexicon: Lexicon, tokenizer: PreTrainedTokenizerBase, n: int | None = None) -> list[str]:
        """The `n` of highest score (all, unless given) as people read them, best first."""
        best = self.words[self.scores.argsort(descending=True, stable=True)[:n]].numpy()
        used, place = np.unique(best[best >= 0], return_inverse=True)
        words = np.full(best.shape, "", dtype=object)
        words[best >= 0] = np.array(lexicon.take(used).texts(tokenizer), dtype=object)[place]
        return [" ".join(filter(None, row)) for row in words]


def collocation_scores(words: np.ndarray, keys: np.ndarray, tallies: list[NGramTally]) -> np.ndarray:
    """PMI of M runs of the same n ≥ 2 words, [M] float64 in nats.

        PMI(w₁ … wₙ) = min over segmentations s of w₁ … wₙ into two parts or more:  log p(w₁ … wₙ) / Π_{u ∈ s} p(u)

    after Levine et al. (ICLR 2021): a run is as good as its best explanation by shorter ones, so that "machine
    translation of" gains nothing from "machine translation". p is the share among all runs of the same length; the
    best segmentation is found from left to right, part by part.

    Args:
        words: [M, n] rows of words in the lexicon.
        keys: [L] keys of the words of the lexicon.
        tallies: counts of runs of 1, 2, … words.
    """
    m, n = words.shape
    tables = [tally.result() for tally in tallies[:n]]
    # log_p[k - 1][:, i]: log p of the part of k words that begins at word i.
    parts = list(ngram_keys(torch.from_numpy(keys[words]), n))
    whole = tables[-1].count(parts[-1][:, 0].numpy())
    counted = zip(tables, tallies[:n], parts, strict=True)
    log_p = [_log_share(table, tally, part.numpy(), whole) for table, tally, part in counted]
    best = np.full((n + 1, m), -np.inf)
    best[0] = 0
    for end in range(1, n + 1):
        for begin in range(max(0, end - n + 1), end):  # all but the whole run
            best[end] = np.maximum(best[end], best[begin] + log_p[end - begin - 1][:, begin])
    return log_p[-1][:, 0] - best[n]


def _log_share(table: NGrams, tally: NGramTally, keys: np.ndarray, at_least: np.ndarray) -> np.ndarray:
    """log p of runs of one length, [M, places]; a part that was forgotten occurs as often as the whole, at least."""
    return np.log(np.maximum(table.count(keys), at_least[:, None]) / max(tally.total, 1))


def find_collocations(
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    vocabulary: Vocabulary,
    lexicon: Lexicon,
    config: PmiConfig,
    limit: int = LIMIT,
    why: str = "",
) -> Collocations:
    """The collocations of a corpus, in one pass.

    Runs of 2 to `longest` words that occur `count` times; of those whose PMI is above 0 the `collocations` of highest
    PMI. Words are compared as the tokenizer sees them: with their case, and with or without
    a space before them, where it keeps these. A run stays within its text and is interrupted by special tokens and
    by words without a letter or digit, except hyphens and apostrophes in its middle.

    Args:
        texts: the corpus.
        tokenizer, vocabulary: of V types.
        lexicon: the words of the corpus with their counts (`Sources.domain_counts`).
        config: [scores.pmi], the three settings above.
        limit: runs of each length kept in memory, see `ngrams.NGramTally`.
        why: words are lacking, if they are (`CorpusCounts.too_long`).

    Raises:
        ValueError: there is no such run.
    """
    used, ends = _usable(lexicon, tokenizer, config.count)
    tallies = count_ngrams(texts, tokenizer, vocabulary, used, config.longest, limit)
    scored = [_candidates(tallies, n, used, ends, config) for n in range(2, config.longest + 1)]
    keys, scores, counts, words = (np.concatenate(column) for column in zip(*scored, strict=True))
    if not len(keys):
        raise ValueError(
            f"no run of words of the domain corpus is a collocation: none occurs {config.count} times "
            f"and more often than chance; lower scores.pmi.count, or give domain.path more text{why}"
        )
    best = np.argsort(-scores, kind="stable")[: config.collocations]
    best = best[np.argsort(keys[best])]
    rows = np.append(lexicon.find(used.keys), -1)[words[best]]
    columns = keys[best], scores[best].astype(np.float32), counts[best], rows.astype(np.int32)
    return Collocations(*map(torch.from_numpy, columns))


def _usable(lexicon: Lexicon, tokenizer: PreTrainedTokenizerBase, min_count: int) -> tuple[Lexicon, np.ndarray]:
    """The words that collocations are made of, and for each whether it may stand at an end of one."""
    frequent = lexicon.take(lexicon.counts >= min_count)
    texts = frequent.texts(tokenizer) if len(frequent) else []
    # A piece of a character (�) is one of a letter, more often than not.
    ends = np.array([any(c.isalnum() or c == "�" for c in text) for text in texts], dtype=bool)
    used = ends | np.array([text in LINKS for text in texts], dtype=bool)
    return frequent.take(used), ends[used]


def _candidates(
    tallies: list[NGramTally], n: int, used: Lexicon, ends: np.ndarray, config: PmiConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Runs of n words that occur often enough and more often than chance: keys, PMI, counts, words padded with -1."""
    table = tallies[n - 1].result()
    table = table.take((table.counts >= config.count) & ends[table.words[:, [0, -1]]].all(1))
    scores = collocation_scores(table.words, used.keys, tallies)
    table, scores = table.take(scores > 0), scores[scores > 0]
    padding = (0, 0), (0, config.longest - n)
    return table.keys, scores, table.counts, np.pad(table.words, padding, constant_values=-1)
