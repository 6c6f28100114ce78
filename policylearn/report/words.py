"""Which words a policy likes to mask, and which it learned to like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class WordRow:
    """A word type with its mean mask probability over its occurrences.

    count: occurrences. learned, prior: probabilities under the learned policy and the prior it started from.
    """

    word: str
    count: int
    learned: float
    prior: float

    @property
    def change(self) -> float:
        return self.learned - self.prior


def most_masked(words: Sequence[WordRow], top: int = 20) -> list[WordRow]:
    """Highest learned probability first; of two alike, the one seen more often.

    >>> most_masked([WordRow("the", 9, 0.02, 0.1), WordRow("cite", 3, 0.6, 0.2)], top=1)[0].word
    'cite'
    """
    return sorted(words, key=lambda row: (-row.learned, -row.count, row.word))[:top]


def least_masked(words: Sequence[WordRow], top: int = 20) -> list[WordRow]:
    """Lowest learned probability first; of two alike, the one seen more often."""
    return sorted(words, key=lambda row: (row.learned, -row.count, row.word))[:top]


def risers(words: Sequence[WordRow], top: int = 20) -> list[WordRow]:
    """Words that learning raised, the biggest change first.

    >>> [row.word for row in risers([WordRow("the", 9, 0.02, 0.1), WordRow("cite", 3, 0.6, 0.2)])]
    ['cite']
    """
    up = [row for row in words if row.change > 0]
    return sorted(up, key=lambda row: (-row.change, -row.count, row.word))[:top]


def fallers(words: Sequence[WordRow], top: int = 20) -> list[WordRow]:
    """Words that learning lowered, the biggest change first."""
    down = [row for row in words if row.change < 0]
    return sorted(down, key=lambda row: (row.change, -row.count, row.word))[:top]
