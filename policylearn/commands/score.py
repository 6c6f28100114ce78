"""A scorer by itself: what it ranks highest, and as a policy without rounds of learning."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from policylearn.arms.arms import arm_policy
from policylearn.arms.policies import scores_of, sources_of
from policylearn.artefact import PolicyArtefact, save_policy
from policylearn.artefact.card import plain_card, told_of_use
from policylearn.commands.card_of_run import use_of
from policylearn.learning.lineage import known_of, unchanged
from policylearn.policy.adaptive import check_follows_no_model
from policylearn.policy.scores import scorer_of
from policylearn.problems.problem import Problem
from policylearn.runs.provenance import provenance
from policylearn.runs.taking import check_takes_policy
from policylearn.scores.tficf import counts_of


@dataclass(frozen=True)
class ScoredWord:
    """A word, or a token type where the scorer knows no words, with its score and counts."""

    text: str
    score: float
    domain: int
    general: int


def scored_words(problem: Problem, name: str, top: int) -> list[ScoredWord]:
    """The words of the domain that a scorer ranks highest.

    Raises:
        ValueError: the scorer is not known, or something it reads is missing.
    """
    sources = sources_of(problem)
    scores = scores_of(problem, [scorer_of(name)])[scorer_of(name)]
    if scores.words is None:
        return _scored_types(problem, scores.types, top)
    lexicon = sources.lexicon
    rows = _highest(scores.words.nan_to_num(nan=-np.inf), lexicon.counts, top)
    texts, general = lexicon.take(rows).texts(problem.tokenizer), counts_of(lexicon.keys[rows], sources.general_counts)
    return [
        ScoredWord(text, float(scores.words[row]), int(lexicon.counts[row]), int(count))
        for text, row, count in zip(texts, rows, general, strict=True)
    ]


def _scored_types(problem: Problem, types: Tensor, top: int) -> list[ScoredWord]:
    domain, general = sources_of(problem).type_counts
    rows = _highest(types, domain, top)
    names = problem.names_of_types()
    return [ScoredWord(names[row], float(types[row]), int(domain[row]), int(general[row])) for row in rows]


def _highest(scores: Tensor, counts: np.ndarray, top: int) -> np.ndarray:
    """Rows of the `top` highest finite scores among what occurs; of two alike, the one seen more often."""
    values = np.where(counts > 0, scores.numpy(), -np.inf)
    rows = np.lexsort((-counts, -values))[:top]
    return rows[np.isfinite(values[rows])]


def export_scorer(problem: Problem, name: str, out: Path) -> Path:
    """Write a scorer as a policy: what `PolicyCollator.from_pretrained` loads, without rounds of learning."""
    check_takes_policy(out)
    check_follows_no_model(name)
    policy = arm_policy(problem, name)
    if policy is None:
        raise ValueError(f"{name!r} masks nothing: there is no policy to export")
    use = use_of(problem)
    facts = provenance(problem.config) | told_of_use(use) | ({"remark": problem.remark} if problem.remark else {})
    facts |= unchanged(policy.config.prior, known_of(problem, policy.config.prior))
    about = f"The scorer {name!r} as it is; no rounds of learning."
    card = plain_card(f"Masking policy: {name}", about, facts, use)
    return save_policy(out, PolicyArtefact(policy, problem.own_tokenizer, facts), card)
