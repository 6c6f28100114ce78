"""What scorers read: corpora, vectors, a model and labelled examples, each opened when first asked for."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.config import ScoresConfig
from policylearn.data.tokens import TokenRows
from policylearn.masking.vocabulary import Vocabulary
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.models.model import InnerModel
from policylearn.scores.anchors import Anchors, find_anchors, named_anchors
from policylearn.scores.collocations import Collocations, find_collocations
from policylearn.scores.counting import CorpusCounts, Lexicon, count_corpus


@dataclass
class Sources:
    """What scorers read; corpora are counted once, when first needed.

    Attributes:
        config: scorer settings.
        tokenizer: whose types are scored, V of them.
        vocabulary: its tables.
        domain, general: functions that open a stream of texts.
        records: function that opens a stream of the domain corpus with the named columns: (text, record) pairs.
        model: function that loads θ₀.
        labelled: function that gives the labelled training texts, tokenised, and their class indices y [N].
        domain_rows: function that gives the domain corpus, tokenised.
        watch: shows how far long work is.
        credits: function that opens a stream of masked domain texts with what predicting each token was worth for the
            task, see `credit.domain`. None: there is no task.
        credited: function that says in words under what those were measured.
        counter: counts a corpus elsewhere (see `cluster.counting`): ("domain" or "general", keys of the only words to
            count or None) → counts. None: in this process.
    """

    config: ScoresConfig
    tokenizer: PreTrainedTokenizerBase
    vocabulary: Vocabulary
    domain: Callable[[], Iterable[str]]
    general: Callable[[], Iterable[str]]
    records: Callable[[Sequence[str]], Iterator[tuple[str, dict[str, Any]]]]
    model: Callable[[], InnerModel]
    labelled: Callable[[], tuple[TokenRows, Tensor]]
    domain_rows: Callable[[], TokenRows]
    watch: Watch = UNSEEN
    credits: Callable[[], Iterator[tuple[Tensor, Tensor, Tensor]]] | None = None
    credited: Callable[[], str] = lambda: ""
    counter: Callable[[str, np.ndarray | None], CorpusCounts] | None = None

    @cached_property
    def domain_counts(self) -> CorpusCounts:
        """Counts of types and words in the domain corpus."""
        return self._count("domain")

    @cached_property
    def general_counts(self) -> CorpusCounts:
        """Counts in the general corpus: of types, and of those words that the domain has."""
        return self._count("general", self.domain_counts.words.keys)

    @property
    def type_counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Occurrences of every type in the domain and in the general corpus, [V] each."""
        return self.domain_counts.types, self.general_counts.types

    def _count(self, corpus: str, only: np.ndarray | None = None) -> CorpusCounts:
        if self.counter is not None:
            return self.counter(corpus, only)
        texts = self.watch(f"counting texts of the {corpus} corpus", getattr(self, corpus)())
        return count_corpus(texts, self.tokenizer, self.vocabulary, only)

    @cached_property
    def known(self) -> np.ndarray:
        """Types that say something of a text, [V] boolean; see `Vocabulary.known`."""
        return self.vocabulary.known.numpy()

    @cached_property
    def lexicon(self) -> Lexicon:
        """The W words that word scores are about: the most frequent of the domain, `scores.words` at most."""
        return self.domain_counts.words.most_frequent(self.config.words, self.config.word_count)

    @cached_property
    def collocations(self) -> Collocations:
        """Runs of words of the domain that belong together."""
        counts, own = self.domain_counts, (self.tokenizer, self.vocabulary)
        texts = self.watch("finding collocations in texts", self.domain(), counts.documents)
        return find_collocations(texts, *own, counts.words, self.config.pmi, why=counts.too_long)

    @cached_property
    def anchors(self) -> Anchors:
        """The anchors of Difference-Masking: those of `scores.difference.anchor_words`, or found in the corpora."""
        config = self.config.difference
        if config.anchor_words is not None:
            return named_anchors(config.anchor_words, self.domain_counts.words, self.tokenizer)
        return find_anchors(self.domain_counts, self.general_counts, self.tokenizer, config)

    @property
    def anchor_texts(self) -> list[str]:
        """The anchors as people read them, most typical first."""
        return self.anchors.texts
