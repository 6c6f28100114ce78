"""What of a training is an arm's own besides its masks: which texts it reads, and what it begins with."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from policylearn.config import Config
from policylearn.credit.live import LIVE
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.protocols import Rows

CHUNK = 64
"""Texts that are scored at once."""


@dataclass(frozen=True)
class Course:
    """How an arm trains.

    Attributes:
        causal: share of the steps, from the first, that predict the next token; see `inner.causal_lm`.
        texts: share of the domain's texts that are read: those with the highest mean score.
        live: steps between two looks at the labels, by whose credits masks go; 0: none. See `credit.live`.
        labels: labelled examples that every step sees besides, see `evaluation.multitask`.
        mlm_weight: λ, of the loss of masked tokens beside that of labels; 0: steps are on labels alone.
    """

    causal: float = 0.0
    texts: float = 1.0
    live: int = 0
    labels: int = 0
    mlm_weight: float = 1.0

    @property
    def key(self) -> str:
        """What is the arm's own, for the key of a trial; nothing of the usual."""
        own = {
            "causal": self.causal,
            "texts": self.texts if self.texts < 1 else 0,
            "live": self.live,
            "labels": self.labels,
        }
        weight = f" of {self.mlm_weight:g}" if self.labels and self.mlm_weight != 1 else ""
        return "".join(f" {name} {value}" for name, value in own.items() if value) + weight


USUAL = Course()
COURSES = {
    "causal-first": Course(causal=0.8),
    "select": Course(texts=0.5),
    LIVE: Course(live=8),
    "multitask": Course(labels=16),
    "labels-only": Course(labels=16, mlm_weight=0.0),
}
"""By arm: most of the steps predict the next token (arXiv 2605.12438); the better half of the texts is read; masks go
by the credits of the moment; every step sees labels as well, or these alone: what masks are worth beside them."""


def course_of(config: Config, arm: str) -> Course:
    """That of an arm by name or of `evaluate.custom`."""
    own = config.evaluate.custom.get(arm)
    return (
        COURSES.get(arm, USUAL)
        if own is None
        else Course(own.causal, own.texts, labels=own.labels, mlm_weight=own.mlm_weight)
    )


def best_texts(problem: Problem, policy: MaskingPolicy, share: float) -> Rows:
    """The share of the domain's texts, at least one, with the highest mean score; of equals the first, and in the order
    of the corpus."""
    scores, rows = text_scores(problem, policy), problem.domain
    best = np.argsort(-scores, kind="stable")[: number_of_best(share, len(rows))]
    return rows.take(np.sort(best).tolist())


def number_of_best(share: float, texts: int) -> int:
    """How many texts `best_texts` takes of so many."""
    return max(1, round(share * texts))


def text_scores(problem: Problem, policy: MaskingPolicy) -> np.ndarray:
    """`MaskingPolicy.text_scores` of the domain, [texts] float64; the lowest where nothing may be masked."""
    return np.concatenate([*_scored(problem, policy)])


def _scored(problem: Problem, policy: MaskingPolicy) -> Iterator[np.ndarray]:
    rows, pad = problem.domain, problem.pad_id
    for first in range(0, len(rows), CHUNK):
        picked = range(first, min(first + CHUNK, len(rows)))
        ids, real = rows.batch(picked, pad)
        found = policy.text_scores(ids, real, rows.values(picked, ids.shape[1]))
        yield found.nan_to_num(-np.inf).numpy()
