"""A comparison as plain JSON: scores per arm and seed, paired differences, and whether budgets were equal."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from policylearn.evaluation.statistics import holm, paired_difference
from policylearn.evaluation.trial import Trial

TOLERANCE = 0.001
"""Relative difference of masked tokens that is still the same budget; exact designs stay far below it."""
UNITS = 0.03
"""The same for an arm whose units or design never add up to just so many tokens."""
NEVER = ("rate", "none", "causal")
"""Reasons for which an arm is of another budget whatever it comes to."""


def summarise(trials: list[Trial], metric: str, others: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Scores and paired differences.

    Args:
        trials: of all arms and seeds.
        metric: its name.
        others: arm → why its budget may differ: "rate" (it masks another share on purpose), "drawn" (its rate is
            drawn, of the same mean), "units" (words and spans come as they come, and in short texts one span may be
            more than the budget), "design" (another one rounds the budget of a text elsewhere), "texts" (it reads
            others), "causal" (some steps predict all tokens) or "none" (it masks nothing). `equal_budget` tells of each
            arm whether it still is that of the rest; so it does of any other arm, which would be a fault of ours.
    """
    arms: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=lambda t: t.seed):
        arms.setdefault(trial.arm, []).append(trial)
    others = others or {}
    extras = sorted({name for trial in trials for name in trial.extra})
    return {
        "metric": metric,
        "seeds": sorted({trial.seed for trial in trials}),
        "arms": {
            arm: {
                "scores": [t.score for t in rows],
                "dev": [t.dev for t in rows],
                "held_out_loss": [t.held_out_loss for t in rows],
                "masked_tokens": [t.masked_tokens for t in rows],
                "seconds": [t.seconds for t in rows],
                "equal_budget": _is_equal(arm, arms, others),
            }
            for arm, rows in arms.items()
        },
        "comparisons": _comparisons(arms),
        "extra": {name: {arm: [t.extra[name] for t in rows] for arm, rows in arms.items()} for name in extras},
    }


def _comparisons(arms: Mapping[str, Sequence[Trial]]) -> dict[str, Any]:
    """ "b - a" → the difference of two arms; `holm` corrects p for the number of arms compared with a."""
    pairs = [(a, b) for a, b in combinations(arms, 2) if len(arms[a]) == len(arms[b])]
    scores = {arm: [t.score for t in rows] for arm, rows in arms.items()}
    found = {(a, b): paired_difference(scores[b], scores[a]) for a, b in pairs}
    corrected: dict[tuple[str, str], float] = {}
    for base in arms:
        p = {b if a == base else a: d.p for (a, b), d in found.items() if base in (a, b) and d.p is not None}
        corrected |= {(base, other): value for other, value in holm(p).items()}
    return {
        f"{b} - {a}": {
            name: value
            for name, value in (asdict(d) | {"holm": corrected.get((a, b))}).items()
            if value is not None and name != "seeds"
        }
        for (a, b), d in found.items()
    }


def _is_equal(arm: str, arms: Mapping[str, Sequence[Trial]], others: Mapping[str, str]) -> bool:
    """Whether an arm masked as many tokens as the arms whose budget is exact; where there are none, as all but those
    of another rate."""
    if others.get(arm) in NEVER:
        return False
    exact = [name for name in arms if name not in others] or [n for n in arms if others[n] not in NEVER]
    masked = {name: _masked_tokens(arms[name]) for name in dict.fromkeys([*exact, arm])}
    usual = sorted(masked[name] for name in exact)[(len(exact) - 1) // 2]  # one that differs does not make the others
    return abs(masked[arm] - usual) <= (UNITS if arm in others else TOLERANCE) * usual


def _masked_tokens(rows: Sequence[Trial]) -> float:
    return sum(trial.masked_tokens for trial in rows) / len(rows)
