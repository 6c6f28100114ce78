"""``result.json`` summed up: one line per arm, paired differences of arms.

Scores are taken to be better when higher. Nothing here fails on a result with arms, seeds or
comparisons missing: it says less instead.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policylearn.report.formats import MISSING, as_number, interval, score, signed

LEARNED = "learned"
ORACLE = "oracle"
ORACLES = (ORACLE, "oracle-context")
"""Arms that know the answer, and are no match for others."""
NAMES = {
    "difference": "Difference-Masking",
    "tficf": "TF-ICF",
    "pmi": "PMI",
    "none": "no further pretraining",
}
SAME = 1e-12
"""Scores and ends of intervals that are no further apart are one number."""
_ORDER = ("none", "random", "tficf", "difference", LEARNED, *ORACLES)


@dataclass(frozen=True)
class Paired:
    """Difference of two arms over the seeds both have: mean, 95 % interval (NaN if unknown), per seed."""

    mean: float
    low: float
    high: float
    per_seed: list[float]

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero; one without width, from seeds that do not differ, shows nothing."""
        return not self.same and (self.low > 0 or self.high < 0)

    @property
    def same(self) -> bool:
        """Whether it is one number on all seeds, which leaves nothing to judge chance by."""
        return self.high - self.low <= SAME


@dataclass(frozen=True)
class Arm:
    """One way of masking: a score per seed (NaN where a run has none), mean tokens masked and seconds."""

    name: str
    scores: list[float]
    masked_tokens: float
    seconds: float

    @property
    def label(self) -> str:
        return NAMES.get(self.name, self.name)

    @property
    def mean(self) -> float:
        return mean(self.scores)

    @property
    def spread(self) -> float:
        return spread(self.scores)


def mean(values: Sequence[float]) -> float:
    """Mean of the finite values, NaN of none.

    >>> mean([1.0, math.nan, 2.0]), mean([])
    (1.5, nan)
    """
    finite = [value for value in values if math.isfinite(value)]
    return statistics.fmean(finite) if finite else math.nan


def spread(values: Sequence[float]) -> float:
    """Standard deviation over the seeds (n - 1 below the line), NaN of fewer than two values."""
    finite = [value for value in values if math.isfinite(value)]
    return statistics.stdev(finite) if len(finite) > 1 else math.nan


def arms(result: dict[str, Any]) -> list[Arm]:
    """The arms of a result, weakest idea first, the learned one and the oracle last.

    >>> [arm.label for arm in arms({"arms": {"oracle": {}, "difference": {}, "random": {"scores": [0.5]}}})]
    ['random', 'Difference-Masking', 'oracle']
    """
    found = [_arm(name, fields or {}) for name, fields in (result.get("arms") or {}).items()]
    return sorted(found, key=_place)


def winners(result: dict[str, Any]) -> list[str]:
    """Names of the arms that no other is above, oracles aside; none where all are level, for then there is no best.

    >>> winners({"arms": {"random": {"scores": [0.6]}, "idf": {"scores": [0.9]}, "tficf": {"scores": [0.9]}}})
    ['tficf', 'idf']
    >>> winners({"arms": {"random": {"scores": [1.0]}, "learned": {"scores": [1.0]}}})
    []
    """
    scored = _rivals(result)
    most = max((arm.mean for arm in scored), default=math.nan)
    found = [arm.name for arm in scored if most - arm.mean <= SAME]
    return found if len(found) < len(scored) else []


def strongest_baseline(result: dict[str, Any]) -> Arm | None:
    """What the learned policy has to beat: the best arm of equal budget that is neither learned nor an oracle.

    >>> strongest_baseline({"arms": {"random": {"scores": [0.6]}, "learned": {"scores": [0.9]}}}).name
    'random'
    """
    given = (result.get("arms") or {}).items()
    others = {name: arm for name, arm in given if name != LEARNED and has_equal_budget(arm)}
    return max(_rivals({"arms": others}), key=lambda arm: arm.mean, default=None)


def _rivals(result: dict[str, Any]) -> list[Arm]:
    """The arms that have scores and do not know the answer, as oracles do."""
    return [arm for arm in arms(result) if arm.name not in ORACLES and math.isfinite(arm.mean)]


def has_equal_budget(arm: Mapping[str, Any]) -> bool:
    """Whether an arm of a result masks as many tokens as the rest; one that masks none at all does not.

    >>> has_equal_budget({"masked_tokens": [0, 0]}), has_equal_budget({"masked_tokens": [9], "equal_budget": True})
    (False, True)
    """
    masked = arm.get("masked_tokens")
    return arm.get("equal_budget", True) and (not masked or any(masked))


def paired(result: dict[str, Any], first: str, second: str) -> Paired | None:
    """The difference ``first - second``, with the interval of the result's own comparison where it has one.

    >>> result = {"arms": {"learned": {"scores": [0.75, 1]}, "random": {"scores": [0.5, 0.5]}}}
    >>> paired(result, "learned", "random")
    Paired(mean=0.375, low=nan, high=nan, per_seed=[0.25, 0.5])
    """
    by_name = {arm.name: arm for arm in arms(result)}
    if first == second or first not in by_name or second not in by_name:
        return None
    per_seed = _differences(by_name[first], by_name[second])
    plain = mean(per_seed) if per_seed else by_name[first].mean - by_name[second].mean
    center, low, high = _compared(result, first, second) or (plain, math.nan, math.nan)
    return Paired(center, low, high, per_seed) if math.isfinite(center) else None


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation over seeds, as text.

    >>> mean_and_spread([0.8, 0.9]), mean_and_spread([0.8]), mean_and_spread([])
    ('.850 ±.071', '.800', '–')
    """
    deviation = spread(values)
    return score(mean(values)) + (f" ±{score(deviation)}" if math.isfinite(deviation) else "")


def difference_text(gap: Paired | None) -> str:
    """A paired difference with its interval as text, a dash in place of one without width; empty if there is none.

    >>> difference_text(Paired(0.042, 0.02, 0.06, [])), difference_text(None)
    ('+.042 [.020, .060]', '')
    >>> difference_text(Paired(0.25, 0.25, 0.25, [0.25, 0.25]))
    '+.250 [–]'
    """
    if gap is None:
        return ""
    return f"{signed(gap.mean)} {f'[{MISSING}]' if gap.same else interval(gap.low, gap.high)}".rstrip()


def apart(result: Mapping[str, Any]) -> list[str]:
    """Arms of a result that differ from the rest in more than masks: in texts, labels or what a step learns."""
    return [name for name, arm in (result.get("arms") or {}).items() if arm.get("course")]


def extra_scores(result: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Scores on further test sets: set → arm → one per seed.

    >>> extra_scores({"extra": {"test_noverlap": {"random": [0.5, None]}}})
    {'test_noverlap': {'random': [0.5, nan]}}
    """
    sets = (result.get("extra") or {}).items()
    return {name: _per_arm(values) for name, values in sets if isinstance(values, dict)}


def gap_recovered(result: dict[str, Any], name: str) -> float:
    """Share of the way from random to the oracle that an arm goes; NaN where that makes no sense, as where the interval
    of the way itself has zero in it.

    >>> scores = {"random": {"scores": [0.5]}, "learned": {"scores": [0.8]}, "oracle": {"scores": [0.9]}}
    >>> round(gap_recovered({"arms": scores}, "learned"), 3)
    0.75
    >>> wide = {"oracle - random": {"mean": 0.4, "low": -0.1, "high": 0.9}}
    >>> gap_recovered({"arms": scores, "comparisons": wide}, "learned")
    nan
    """
    whole = paired(result, ORACLE, "random")
    if whole and math.isfinite(whole.low) and not whole.clear:
        return math.nan
    means = {arm.name: arm.mean for arm in arms(result)}
    way = means.get(ORACLE, math.nan) - means.get("random", math.nan)
    return (means.get(name, math.nan) - means["random"]) / way if way > 0 else math.nan


def uneven_masking(result: dict[str, Any]) -> bool:
    """Whether arms masked numbers of tokens more than 1 % apart, so that they do not differ in the choice alone."""
    masked = [arm.masked_tokens for arm in arms(result) if arm.masked_tokens > 0]
    return bool(masked) and max(masked) > 1.01 * min(masked)


def _arm(name: str, fields: dict[str, Any]) -> Arm:
    numbers = {key: [as_number(value) for value in fields.get(key) or []] for key in _FIELDS}
    return Arm(name, numbers["scores"], mean(numbers["masked_tokens"]), mean(numbers["seconds"]))


_FIELDS = ("scores", "masked_tokens", "seconds")


def _per_arm(values: dict[str, Any]) -> dict[str, list[float]]:
    return {arm: [as_number(value) for value in scores or []] for arm, scores in values.items()}


def _place(arm: Arm) -> float:
    # Arms nobody foresaw stand between the known baselines and the learned policy.
    return _ORDER.index(arm.name) if arm.name in _ORDER else _ORDER.index(LEARNED) - 0.5


def _compared(result: dict[str, Any], first: str, second: str) -> tuple[float, float, float] | None:
    """Mean and interval as the result states them, in either direction."""
    for name, sign in ((f"{first} - {second}", 1), (f"{second} - {first}", -1)):
        given = (result.get("comparisons") or {}).get(name) or {}
        middle, low, high = (sign * as_number(given.get(key)) + 0.0 for key in ("mean", "low", "high"))
        if math.isfinite(middle):
            return middle, min(low, high), max(low, high)
    return None


def _differences(first: Arm, second: Arm) -> list[float]:
    if len(first.scores) != len(second.scores):
        return []  # which seeds belong together is not known then
    both = zip(first.scores, second.scores, strict=True)
    return [a - b for a, b in both if math.isfinite(a) and math.isfinite(b)]
