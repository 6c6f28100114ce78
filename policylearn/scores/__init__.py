"""Scorers: one real score per token type. A registry from name to function.

To add one, write a function of `Sources` and register it:

    @scorer("idf")
    def idf(sources: Sources) -> Tensor: ...
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.config import ScoresConfig
from policylearn.data.planted import is_useful
from policylearn.scores.counts import count_tokens
from policylearn.scores.difference import anchors, nearest_anchor_similarity
from policylearn.scores.tficf import tficf
from policylearn.scores.words import word_like

Watch = Callable[[str, Iterable[str]], Iterable[str]]
"""Shows progress on a stream of texts: (name of the work, texts) → the same texts."""


@dataclass
class Sources:
    """What scorers read; corpora are counted once, when first needed.

    Attributes:
        config: scorer settings.
        tokenizer: whose types are scored, V of them.
        domain, general: functions that open a stream of texts.
        vectors: function that embeds all V types, [V, d].
        special: [V] boolean.
        watch: shows progress on a corpus while it is read.
    """

    config: ScoresConfig
    tokenizer: PreTrainedTokenizerBase
    domain: Callable[[], Iterable[str]]
    general: Callable[[], Iterable[str]]
    vectors: Callable[[], Tensor]
    special: Tensor
    watch: Watch = lambda work, texts: texts

    @cached_property
    def domain_counts(self) -> np.ndarray:
        """[V] occurrences in the domain corpus."""
        return count_tokens(self.watch("counting the domain corpus", self.domain()), self.tokenizer)

    @cached_property
    def general_counts(self) -> np.ndarray:
        """[V] occurrences in the general corpus."""
        return count_tokens(self.watch("counting the general corpus", self.general()), self.tokenizer)

    @cached_property
    def anchors(self) -> Tensor:
        """Ids of the Difference-Masking anchors, most typical first."""
        allowed = word_like(self.tokenizer) & ~self.special
        limits = (self.config.anchors, self.config.anchor_count, self.config.anchor_ratio)
        return anchors(self.domain_counts, self.general_counts, allowed, *limits)


Scorer = Callable[[Sources], Tensor]
SCORERS: dict[str, Scorer] = {}


def scorer(name: str) -> Callable[[Scorer], Scorer]:
    """Register a scorer under a name."""

    def register(function: Scorer) -> Scorer:
        SCORERS[name] = function
        return function

    return register


def score_types(name: str, sources: Sources) -> Tensor:
    """Scores of all token types by a registered scorer, [V] float32.

    Raises:
        ValueError: the name is not registered.
    """
    if name not in SCORERS:
        raise ValueError(f"unknown scorer {name!r}; known: {sorted(SCORERS)}")
    return SCORERS[name](sources).float()


@scorer("difference")
def _difference(sources: Sources) -> Tensor:
    return nearest_anchor_similarity(sources.vectors(), sources.anchors)


@scorer("tficf")
def _tficf(sources: Sources) -> Tensor:
    scores = tficf(sources.domain_counts, sources.general_counts)
    return scores / scores.amax().clamp(min=1e-12)


@scorer("oracle")
def _oracle(sources: Sources) -> Tensor:
    tokens = sources.tokenizer.convert_ids_to_tokens(list(range(len(sources.tokenizer))))
    useful = torch.tensor([is_useful(token) for token in tokens])
    if not useful.any():
        raise ValueError("the oracle is known on the planted benchmark only: take it out of evaluate.arms")
    return useful.float()
