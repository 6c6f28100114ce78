"""Two halves that share nothing: of the labelled examples, and of the texts that are masked.

Data sets repeat sentences with another span marked or another label, and a corpus holds a document in several rows. In
both halves they would make noise look reliable.
"""

import numpy as np

from policylearn.data.tokens import TokenRows
from policylearn.problem import Problem

BLOCK = 64
"""Rows of the corpus that stay together: the rows of a document follow one another."""


def labelled_halves(problem: Problem, most: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training examples, or of `most` of them, in two halves; texts of the same words are in the same.
    Every class is spread over both."""
    examples = problem.examples("train")
    rng = np.random.default_rng([seed, 0])
    picked = rng.permutation(len(examples))[:most]
    members, at = np.unique(same_words(examples.rows, solid_types(problem))[picked], return_inverse=True)
    half = np.empty(len(members), dtype=np.int64)
    spread = examples.strata(members, examples.y[examples.targets_of(members)])
    half[np.lexsort((rng.random(len(members)), *np.atleast_2d(spread.T)))] = np.arange(len(members)) % 2
    return picked[half[at] == 0], picked[half[at] == 1]


def text_halves(problem: Problem, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the domain corpus in two halves, each in random order: alternate blocks, but texts of the same words go
    where the first of them is."""
    rows = np.arange(len(problem.domain))
    block = min(BLOCK, max(1, len(rows) // 4))
    half = (rows // block % 2)[same_words(problem.domain, solid_types(problem))]
    rng = np.random.default_rng([seed, 4])
    return rng.permutation(rows[half == 0]), rng.permutation(rows[half == 1])


def same_words(rows: TokenRows, solid: np.ndarray) -> np.ndarray:
    """For every row the first row that consists of the same `solid` token types, in any order.

    >>> rows = TokenRows(np.array([5, 6, 9, 6, 5]), np.array([0, 2, 5]))
    >>> same_words(rows, np.arange(10) < 9)
    array([0, 0])
    """
    first: dict[bytes, int] = {}
    content = (np.unique(rows[i][solid[rows[i]]]).tobytes() for i in range(len(rows)))
    return np.array([first.setdefault(words, i) for i, words in enumerate(content)], dtype=np.int64)


def solid_types(problem: Problem) -> np.ndarray:
    """Token types that hold a letter or digit and are not special, [V] boolean."""
    pieces = problem.tokenizer.convert_ids_to_tokens(list(range(len(problem.tokenizer))))
    special = set(problem.tokenizer.all_special_tokens)
    return np.array([piece not in special and any(c.isalnum() for c in piece) for piece in pieces])
