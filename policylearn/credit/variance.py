"""Whose variance is it? A crossed design of two halves of labels and two of masked text, and what more data would do.

Generalisability theory (Cronbach et al., 1972; Brennan, 2001). The mean credit of word type k, taken with the labelled
half a ∈ {A, B} on the masked text of half b ∈ {A, B}, is

    x_kab = signal_k + label_ka + text_kb + rest_kab

so that across types

    cov(x_AA, x_BB) = cov(x_AB, x_BA) = signal            nothing in common but the task
    cov(x_AA, x_AB) = cov(x_BA, x_BB) = signal + label    the labelled examples in common
    cov(x_AA, x_BA) = cov(x_AB, x_BB) = signal + text     masks and contexts in common
    var(x_ab)                         = signal + label + text + rest

The four, over the variance, are shares that add up to 1; that of the signal is the reliability of one half. With l
halves' worth of labels and t of text the last three shrink:

    reliability(l, t) = signal / (signal + label / l + text / t + rest / (l t))
"""

from dataclasses import dataclass

import numpy as np

from policylearn.credit.sums import correlation, spearman_brown


@dataclass(frozen=True)
class Shares:
    """Shares of the variance of a half's mean credits across word types; they add up to 1.

    Estimates may be negative, where the truth is near 0; the signal's keeps its sign, the others are cut at 0.
    """

    signal: float
    label: float
    text: float
    rest: float

    @property
    def whole(self) -> float:
        """Reliability of both halves together, by Spearman and Brown: a lower bound, for it has the rest halved, and of
        two halves of labels by two of text there are four of these. By `reliability(shares, 2, 2)` it is somewhat more;
        this keeps the sign of what is not reliable."""
        return spearman_brown(self.signal)


def reliability(shares: Shares, labels: float, text: float) -> float:
    """Of the means of so many halves' worth of labels and of text, by the formula above; no less than 0.

    >>> reliability(Shares(0.2, 0.4, 0.2, 0.2), 2.0, 2.0)
    0.36363636363636365
    """
    noise = shares.label / labels + shares.text / text + shares.rest / (labels * text)
    return shares.signal / (shares.signal + noise) if shares.signal > 0 else 0.0


def variance_shares(cells: np.ndarray) -> Shares:
    """The shares from mean credits [K, 2, 2] of K types by labelled half and text half.

    >>> x = np.random.default_rng(0).normal(size=(2000, 1, 1))
    >>> variance_shares(x + np.zeros((1, 2, 2))).signal > 0.999
    True
    """
    cov = np.cov(cells.reshape(-1, 4), rowvar=False)  # order AA, AB, BA, BB: labels first
    total = float(np.trace(cov)) / 4
    if total <= 0:
        return Shares(0.0, 0.0, 0.0, 1.0)
    signal = (cov[0, 3] + cov[1, 2]) / 2 / total
    label = max(0.0, (cov[0, 1] + cov[2, 3]) / 2 / total - signal)
    text = max(0.0, (cov[0, 2] + cov[1, 3]) / 2 / total - signal)
    return Shares(float(signal), float(label), float(text), float(max(0.0, 1 - signal - label - text)))


def net_of(x: np.ndarray, y: np.ndarray, controls: np.ndarray) -> float:
    """Correlation of x [K] with what is left of y [K] after the least-squares fit of controls [K, C] is taken out.

    What y owes to the state of the model and not to the labels, gradients of other labels on the same examples owe as
    well; no agreement is counted that goes by way of them.

    >>> x = np.array([1.0, 2.0, 3.0, 4.0])
    >>> round(net_of(x, x, x[:, None]), 6), round(net_of(x, x, np.zeros((4, 0))), 6)
    (0.0, 1.0)
    """
    design = np.column_stack([np.ones(len(y)), controls])
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    known = float(np.square(left).sum() / max(np.square(y - y.mean()).sum(), np.finfo(np.float64).tiny))
    return correlation(x, left) if known > 1e-9 else 0.0


def interval(cells: np.ndarray, draws: int, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the whole's reliability, by drawing word types anew; labels and texts are taken as they are."""
    rng = np.random.default_rng(seed)
    picks = (rng.integers(len(cells), size=len(cells)) for _ in range(draws))
    low, high = np.quantile([variance_shares(cells[pick]).whole for pick in picks], (0.025, 0.975))
    return float(low), float(high)


def halves_needed(shares: Shares, goal: float, *, labels: float | None = None, text: float | None = None) -> float:
    """How many halves' worth of what is not given reach the goal, infinite if no number does; of both if none is.

    >>> halves_needed(Shares(0.2, 0.4, 0.2, 0.2), 0.5, text=2.0)
    5.0
    >>> halves_needed(Shares(0.2, 0.4, 0.2, 0.2), 0.5, labels=2.0), halves_needed(Shares(0.2, 0.8, 0, 0), 0.5)
    (inf, 4.0)
    """
    allowed = shares.signal * (1 - goal) / goal  # what is left of the noise then
    if shares.signal <= 0:
        return float("inf")
    if labels is None and text is None:  # (label + text) / m + rest / m² = allowed
        linear = (shares.label + shares.text) / allowed
        return linear / 2 + float(np.sqrt(linear**2 / 4 + shares.rest / allowed))
    given, fixed, free = (text, shares.text, shares.label) if labels is None else (labels, shares.label, shares.text)
    assert given is not None
    slack = allowed - fixed / given
    return (free + shares.rest / given) / slack if slack > 1e-12 else float("inf")
