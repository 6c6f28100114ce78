"""Statistics of paired comparisons: two arms on the same seeds.

Seeds are what varies: fresh weights or data order, masks, labelled subset, fine-tuning. The test examples are the same
for all of them, so an interval speaks of these examples, not of others like them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from policylearn.report.formats import fixed, scale_of

CONFIDENCE = 0.95
POWER = 0.8
RESAMPLES = 9_999
ENOUGH = 8
"""Seeds that a bootstrap asks for: resamples of fewer are the same few numbers over and over."""
SHOWN = 9
"""Digits behind the point at most."""
EXACT = 12
"""So many seeds and fewer have all their 2^n flips of signs counted, others a sample."""


@dataclass(frozen=True)
class Difference:
    """What is known of the mean of per-seed differences, after - before. All but the mean are None for a single seed.

    Attributes:
        mean: of the differences.
        low, high: its 95 % interval of Student's t. For normal differences of five and of ten seeds it holds the
            truth in 95 of 100 studies, where the percentile bootstrap does in less than 88 and 93 (tests hold both).
        bootstrap: the studentised bootstrap interval, which asks for no normality but for eight seeds or more.
        p: of the paired permutation test, two-sided: no smaller than 2 / 2^seeds.
        least: the smallest true difference that so many seeds with so much spread would find in 80 % of studies; None
            where they do not differ.
        seeds: how many; where several tasks are averaged, of the one with the fewest.
    """

    mean: float
    seeds: int
    low: float | None = None
    high: float | None = None
    bootstrap: list[float] | None = None
    p: float | None = None
    least: float | None = None

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out zero; one without width, from seeds that do not differ, shows nothing."""
        return self.low is not None and self.high is not None and not self.still and (self.low > 0 or self.high < 0)

    def told(self, scale: float = 1.0, digits: int = 1) -> str:
        """The mean, so many times, with its interval, for a table.

        >>> Difference(0.0123, 5, 0.001, 0.0236).told(100)
        '+1.2 [0.1, 2.4]'
        """
        mean = fixed(scale * self.mean, digits, "+")
        if self.low is None or self.high is None:
            return mean
        return f"{mean} [{fixed(scale * self.low, digits)}, {fixed(scale * self.high, digits)}]"

    @property
    def still(self) -> bool:
        """Whether the difference is the same on all seeds, to rounding: what chance does cannot be judged then."""
        return self.low is not None and self.high is not None and self.high - self.low < 1e-12


def on_shared_seeds(by_arm: Mapping[str, Mapping[int, float]]) -> dict[str, list[float]]:
    """Scores of every arm in the order of the seeds that all arms have, to be compared pair by pair.

    >>> on_shared_seeds({"random": {0: 0.5, 1: 0.6, 2: 0.7}, "learned": {2: 0.8, 1: 0.7}})
    {'random': [0.6, 0.7], 'learned': [0.7, 0.8]}
    """
    seeds = sorted(set.intersection(*(set(own) for own in by_arm.values()))) if by_arm else []
    return {arm: [own[seed] for seed in seeds] for arm, own in by_arm.items()}


def paired_difference(after: Sequence[float], before: Sequence[float]) -> Difference:
    """Mean per-seed difference with intervals, test and power.

    Args:
        after, before: scores of two arms, one per seed, in the same order.

    >>> found = paired_difference([0.80, 0.81, 0.84, 0.80, 0.83], [0.78, 0.80, 0.80, 0.79, 0.80])
    >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3), found.p, round(found.least, 3)
    (0.022, 0.006, 0.038, 0.0625, 0.022)
    """
    return pooled_difference([np.subtract(after, before)])


def share_of_lead(scores: Sequence[float], best: Sequence[float], base: Sequence[float]) -> tuple[float, float, float]:
    """Which share r of the lead of `best` over `base` an arm has, with its 95 % interval: r, low, high.

    By linearisation: the standard error of r is that of the mean of a - r b, over the mean of b, where a and b are the
    leads of the arm and of the best over the base, seed by seed.

    Args:
        scores, best, base: of three arms, one per seed, in the same order; at least two.

    >>> [round(share, 2) for share in share_of_lead([0.8, 0.7, 0.8], best=[0.9, 0.9, 1.0], base=[0.5, 0.4, 0.5])]
    [0.64, 0.45, 0.84]
    """
    a, b = np.subtract(scores, base), np.subtract(best, base)
    r, n = a.mean() / b.mean(), len(a)
    error = (a - r * b).std(ddof=1) / math.sqrt(n) / abs(b.mean())
    half = critical(n - 1) * error
    return float(r), float(r - half), float(r + half)


def pooled_difference(differences: Sequence[Sequence[float] | np.ndarray]) -> Difference:
    """The mean over tasks of their mean differences; seeds are resampled, and signs flipped, within tasks.

    Args:
        differences: task by task, one number per seed.

    >>> round(pooled_difference([[0.1, 0.2, 0.3], [0.0, 0.1]]).mean, 3)
    0.125
    """
    tasks = [np.asarray(task, dtype=float) for task in differences]
    assert all(np.isfinite(task).all() for task in tasks), "a score that is NaN or infinite has no test"
    seeds, mean = min(map(len, tasks)), float(np.mean([task.mean() for task in tasks]))
    if seeds < 2:
        return Difference(mean, seeds)
    error, freedom = standard_error(tasks)
    half = critical(freedom) * error
    bootstrap = bootstrap_interval(tasks) if seeds >= ENOUGH else None
    return Difference(
        mean, seeds, mean - half, mean + half, bootstrap, permutation_p(tasks), least_effect(error, freedom)
    )


def critical(freedom: float) -> float:
    """How many standard errors to each side make a 95 % interval, by Student's t.

    >>> round(critical(9.0), 2)  # ten seeds
    2.26
    """
    from scipy.stats import t  # here, as below: every command would wait for it

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))


def standard_error(tasks: Sequence[np.ndarray]) -> tuple[float, float]:
    """Of the mean over tasks of their means, and its degrees of freedom (Satterthwaite, 1946)."""
    parts = np.array([task.var(ddof=1) / len(task) for task in tasks])
    weights = parts**2 / [len(task) - 1 for task in tasks]
    freedom = parts.sum() ** 2 / weights.sum() if weights.sum() > 0 else len(tasks[0]) - 1.0
    return math.sqrt(parts.sum()) / len(tasks), float(freedom)


def bootstrap_interval(tasks: Sequence[np.ndarray]) -> list[float]:
    """Studentised bootstrap interval of the mean over tasks of their means (Efron & Tibshirani, 1993, ch. 12)."""
    rng, mean = np.random.default_rng(0), float(np.mean([task.mean() for task in tasks]))
    error = standard_error(tasks)[0]
    if error < 1e-12:
        return [mean, mean]
    samples = [rng.choice(task, (RESAMPLES, len(task))) for task in tasks]
    means = np.mean([sample.mean(1) for sample in samples], axis=0)
    errors = np.sqrt(np.sum([s.var(1, ddof=1) / s.shape[1] for s in samples], axis=0)) / len(tasks)
    varied = errors > 1e-6 * error  # a resample may be one seed many times over
    t = (means[varied] - mean) / errors[varied]
    above, below = np.quantile(t, [(1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2])
    return [mean - float(above) * error, mean - float(below) * error]


def permutation_p(tasks: Sequence[np.ndarray]) -> float:
    """Two-sided p of the mean over tasks of their means, if each difference could as well have had the other sign.

    >>> permutation_p([np.array([0.1, 0.2, 0.3])])  # all three of one sign: 2 of 8
    0.25
    """
    weighted = np.concatenate([task / len(task) for task in tasks])
    assert np.isfinite(weighted).all(), "NaN is as extreme as nothing, and p would be 0"
    if len(weighted) <= EXACT:
        signs = 1 - 2 * (np.arange(1 << len(weighted))[:, None] >> np.arange(len(weighted)) & 1)
        return float(_as_extreme(signs @ weighted, weighted.sum()).mean())
    signs = np.random.default_rng(0).choice([-1, 1], (RESAMPLES, len(weighted)))
    return float((1 + _as_extreme(signs @ weighted, weighted.sum()).sum()) / (1 + RESAMPLES))


def _as_extreme(sums: np.ndarray, found: float) -> np.ndarray:
    return np.abs(sums) >= abs(found) * (1 - 1e-9)


def least_effect(error: float, freedom: float) -> float | None:
    """The true difference whose interval leaves out zero in a share `POWER` of studies; by the noncentral t. None: the
    seeds do not differ, so nobody knows what chance does.

    Args:
        error: standard error of the difference.
        freedom: its degrees of freedom.

    >>> round(least_effect(1.0, 9.0), 2)  # ten seeds: 3.15 standard errors
    3.15
    """
    if error < 1e-12:
        return None
    from scipy.optimize import brentq
    from scipy.stats import nct

    bound = critical(freedom)
    return error * float(brentq(lambda shift: nct.sf(bound, freedom, shift) - POWER, 0.0, 100.0))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for their number (Holm, 1979): the chance of any false alarm stays below 5 %.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    corrected, least = {}, 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        least = max(least, min(1.0, (len(p) - rank) * p[name]))
        corrected[name] = least
    return {name: corrected[name] for name in p}


def sentence(after: str, before: str, found: Difference, most: int = 0, metric: str = "") -> str:
    """A comparison in plain words, in points of a score out of 100, unless the metric is of another unit.

    Args:
        after, before: what is compared.
        found: after - before.
        most: the number of seeds of the task that has the most of several.
        metric: of the scores.

    >>> scores = [0.80, 0.81, 0.84, 0.80, 0.83], [0.78, 0.80, 0.80, 0.79, 0.80]
    >>> sentence("learned", "random", paired_difference(*scores))
    'learned beats random by 2.2 [0.6, 3.8] points over 5 seeds'
    >>> sentence("learned", "random", paired_difference([0.80, 0.81, 0.84], [0.81, 0.80, 0.80]))
    'learned is not shown to differ from random: +1.3 [−4.9, 7.6] points over 3 seeds, which could have seen 8.2'
    >>> sentence("learned", "random", paired_difference([0.80004, 0.81005, 0.84003], [0.8, 0.81, 0.84]))
    'learned beats random by 0.004 [0.002, 0.006] points over 3 seeds'
    """
    points, digits, unit = scale_of(metric)
    while found.shown and digits < SHOWN and not round(points * found.mean, digits):
        digits += 1  # nobody wins by nothing
    mean = fixed(points * found.mean, digits, "+")
    if found.low is None or found.high is None:
        return f"{after} and {before} differ by {mean} {unit} on one seed, which tells nothing of others"
    if found.least is None:
        return f"{after} and {before} differ by {mean} {unit} on all of {found.seeds} seeds: nothing to judge chance by"
    over = f"{unit} over {found.seeds}{f' to {most}' if most > found.seeds else ''} seeds"
    if found.shown:
        verb = "beats" if found.mean > 0 else "is worse than"
        low, high = sorted(abs(points * bound) for bound in (found.low, found.high))
        value = f"{fixed(abs(points * found.mean), digits)} [{fixed(low, digits)}, {fixed(high, digits)}]"
        return f"{after} {verb} {before} by {value} {over}"
    least = fixed(points * found.least, digits)
    told = found.told(points, digits)
    return f"{after} is not shown to differ from {before}: {told} {over}, which could have seen {least}"
