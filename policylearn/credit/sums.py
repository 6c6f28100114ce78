"""Credits by word, and how well two halves of the data agree on them.

Light on purpose: numpy alone, sums that add up over batches, windows and rollouts, a few kilobytes each.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sums:
    """Credits summed by word.

    Attributes:
        keys: [U] int64, ascending, of `masking.units.word_keys`.
        counts: [U], masked tokens of each word.
        totals: [U, D] float64, sums of their credits, one column per outer gradient.
    """

    keys: np.ndarray
    counts: np.ndarray
    totals: np.ndarray

    @classmethod
    def of(cls, keys: np.ndarray, credits: np.ndarray) -> "Sums":
        """Sums of M tokens.

        Args:
            keys: [M], the word each token is in.
            credits: [M] or [M, D].

        >>> Sums.of(np.array([7, 3, 7]), np.array([1.0, 5.0, 2.0])).totals[:, 0]
        array([5., 3.])
        """
        found, at, counts = np.unique(keys, return_inverse=True, return_counts=True)
        columns = credits.reshape(len(keys), -1).astype(np.float64)
        totals = np.stack([np.bincount(at, column, minlength=len(found)) for column in columns.T], axis=1)
        return cls(found, counts, totals)

    def add(self, *others: "Sums") -> "Sums":
        """The sums of all together.

        >>> a = Sums.of(np.array([7, 3]), np.array([1.0, 5.0]))
        >>> a.add(a).totals[:, 0], a.add(a).counts
        (array([10.,  2.]), array([2, 2]))
        """
        parts = (self, *others)
        keys, at = np.unique(np.concatenate([part.keys for part in parts]), return_inverse=True)
        counts = np.bincount(at, np.concatenate([part.counts for part in parts])).astype(np.int64)
        totals = np.zeros((len(keys), self.totals.shape[1]))
        np.add.at(totals, at, np.concatenate([part.totals for part in parts]))
        return Sums(keys, counts, totals)

    @property
    def means(self) -> np.ndarray:
        """Mean credits, [U, D]."""
        return self.totals / self.counts[:, None]


def advantage(credits: np.ndarray) -> np.ndarray:
    """Credits [M] or [M, D] less their mean, over their root mean square, column by column: gradients count alike.

    >>> advantage(np.array([[1.0, 90.0], [3.0, 10.0]])).tolist()
    [[-1.0, 1.0], [1.0, -1.0]]
    """
    centred = credits - credits.mean(0)
    return centred / np.maximum(np.sqrt(np.square(centred).mean(0)), np.finfo(np.float64).tiny)


def common_words(a: Sums, b: Sums, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a and of b that hold the words both saw at least `least` times, in the same order.

    >>> a, b = (Sums.of(np.array(keys), np.zeros(len(keys))) for keys in ([3, 5, 5, 7, 7], [5, 7, 7, 9]))
    >>> [rows.tolist() for rows in common_words(a, b, 2)], [rows.tolist() for rows in common_words(a, b, 1)]
    ([[2], [1]], [[1, 2], [0, 1]])
    """
    _, in_a, in_b = np.intersect1d(a.keys, b.keys, assume_unique=True, return_indices=True)
    kept = np.minimum(a.counts[in_a], b.counts[in_b]) >= least
    return in_a[kept], in_b[kept]


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r; 0 where one of the two is constant."""
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt(x @ x) * np.sqrt(y @ y))
    return float(x @ y) / scale if scale > 0 else 0.0


def spearman_brown(r: float, times: float = 2.0) -> float:
    """Reliability of `times` as much data as that which has reliability r; for negative r that of -r, negative.

    >>> round(spearman_brown(0.5), 3), spearman_brown(-1.0)
    (0.667, -1.0)
    """
    size = times * abs(r) / (1 + (times - 1) * abs(r))
    return size if r >= 0 else -size
