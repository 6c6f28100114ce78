"""Two halves that share nothing: of the labelled examples, and of the texts that are masked.

Data sets repeat sentences with another span marked or another label, and a corpus holds a document in several rows. In
both halves they would make noise look reliable.
"""

import numpy as np

from policylearn.problems.problem import Problem

BLOCK = 64
"""Rows of the corpus that stay together: the rows of a document follow one another."""


def labelled_halves(problem: Problem, most: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training examples, or of `most` of them, in two halves; texts that are alike are in the same.
    Every class is spread over both."""
    examples = problem.examples("train")
    rng = np.random.default_rng([seed, 0])
    picked = rng.permutation(len(examples))[:most]
    members, at = np.unique(problem.alike(examples.rows)[picked], return_inverse=True)
    half = np.empty(len(members), dtype=np.int64)
    spread = examples.strata(members, examples.y[examples.targets_of(members)])
    half[np.lexsort((rng.random(len(members)), *np.atleast_2d(spread.T)))] = np.arange(len(members)) % 2
    return picked[half[at] == 0], picked[half[at] == 1]


def text_halves(problem: Problem, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the domain corpus in two halves, each in random order: alternate blocks, but texts that are alike go
    where the first of them is."""
    rows = np.arange(len(problem.domain))
    block = min(BLOCK, max(1, len(rows) // 4))
    half = (rows // block % 2)[problem.alike(problem.domain)]
    rng = np.random.default_rng([seed, 4])
    return rng.permutation(rows[half == 0]), rng.permutation(rows[half == 1])
