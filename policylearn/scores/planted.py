"""Scorers that know the planted benchmark: the oracle, and its opposite, a prior that is wrong."""

from collections.abc import Callable

import torch

from policylearn.data.planted import is_distracting, is_useful
from policylearn.policy.scores import Scores
from policylearn.scores.sources import Sources
from policylearn.scores.tagged import column_scores


def oracle(sources: Sources) -> Scores:
    """1 for words that tell of the class, else 0."""
    return _known(sources, is_useful, "oracle")


def distractors(sources: Sources) -> Scores:
    """1 for words of the domain that tell nothing of the class, else 0."""
    return _known(sources, is_distracting, "distractors")


def oracle_context(sources: Sources) -> Scores:
    """Share of the occurrences of a type that are worth predicting; a policy looks each of them up in the corpus."""
    return column_scores("oracle-context", sources)


def _known(sources: Sources, wanted: Callable[[str], bool], name: str) -> Scores:
    tokens = sources.tokenizer.convert_ids_to_tokens(list(range(len(sources.vocabulary.special))))
    found = torch.tensor([wanted(token or "") for token in tokens])
    if not found.any():
        raise ValueError(f"scorer {name!r} is known on the planted benchmark only: take it out")
    return Scores(found.float())
