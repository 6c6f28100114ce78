"""Result and signal in one plain sentence each, which say so when learning did not help or had nothing to go by."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from policylearn.report.formats import as_number, interval, plural, score
from policylearn.report.summary import (
    LEARNED,
    ORACLE,
    Paired,
    arms,
    difference_text,
    paired,
    strongest_baseline,
)

Outcome = Literal["better", "unclear", "worse", "unknown"]

SUBJECTS = {
    "learned": "the learned policy",
    "prior": "the exported policy, which is its prior as it is,",
    "start": "the exported policy, which is the one it started from,",
    "random": "the exported policy, which is random masks,",
}
"""By `learning.lineage.Exported`."""
ROUGH = 0.1
"""Differences that are off by this share are no derivatives to go by."""


@dataclass(frozen=True)
class Verdict:
    """outcome: learned against the strongest baseline. sentence: the same, in plain words and numbers."""

    outcome: Outcome
    sentence: str


def verdict(result: dict[str, Any]) -> Verdict:
    """One honest sentence about the learned policy against the strongest baseline.

    >>> found = verdict({"arms": {"random": {"scores": [0.5, 0.6]}, "learned": {"scores": [0.5, 0.5]}}})
    >>> found.outcome, found.sentence[-70:]
    ('unclear', ' it is behind random, but there is no interval, so this may be chance.')
    """
    by_name = {arm.name: arm for arm in arms(result)}
    learned, baseline = by_name.get(LEARNED), strongest_baseline(result)
    if learned is None or not math.isfinite(learned.mean):
        said = f"{_subject(result).capitalize()} was not evaluated on fresh models."
        return Verdict("unknown", said + _others(result))
    seeds = plural(sum(math.isfinite(value) for value in learned.scores), "seed")
    if baseline is None:
        sentence = f"On fresh models {_subject(result)} scores {score(learned.mean)} (mean of {seeds}); "
        if len([arm for arm in by_name.values() if math.isfinite(arm.mean)]) == 1:
            return Verdict("unknown", sentence + "no other policy was evaluated beside it.")
        known = "nothing that could be chosen instead, of as many masked tokens, was evaluated beside it."
        return Verdict("unknown", sentence + known + _others(result))
    gap = paired(result, LEARNED, baseline.name)
    assert gap is not None  # both arms have a finite mean
    outcome, judgement = _judge(gap, baseline.label)
    numbers = f"{_standing(result)} (mean of {seeds}; learned − {baseline.label} = {difference_text(gap)})"
    return Verdict(outcome, f"{numbers}: {judgement}.")


def signal(history: Sequence[dict[str, Any]]) -> Verdict:
    """Whether the policy gradients of two rollouts agree: their mean cosine, with its 95 % interval over the rounds;
    and whether they were derivatives at all, where differences stand for them.

    >>> signal([{"reliability": 0.3}, {"reliability": 0.2}, {"reliability": 0.25}]).sentence
    'Signal: the gradients of two rollouts agree, mean cosine .250 [.126, .374] over 3 rounds.'
    >>> signal([{"reliability": 0.1}, {"reliability": -0.1}]).outcome
    'unclear'
    >>> signal([{"difference_error": 0.4}]).sentence[59:]
    'Derivatives taken by differences are off by 40 %: `inner.engine=replay` is exact.'
    """
    found, rough = _agreement(history), _roughness(history)
    return Verdict(found.outcome, f"{found.sentence} {rough}") if rough else found


def _agreement(history: Sequence[dict[str, Any]]) -> Verdict:
    from scipy.stats import t  # here only: every command would wait for it

    cosines = [value for record in history if math.isfinite(value := as_number(record.get("reliability")))]
    if len(cosines) < 2:
        return Verdict("unknown", "Signal: not measured; it takes two rounds of two rollouts.")
    middle = statistics.fmean(cosines)
    half = float(t.ppf(0.975, len(cosines) - 1)) * statistics.stdev(cosines) / len(cosines) ** 0.5
    low, high = max(-1.0, middle - half), min(1.0, middle + half)  # of few rounds t reaches beyond what a cosine can be
    numbers = f"mean cosine {score(middle)} {interval(low, high)} over {len(cosines)} rounds"
    if low > 0:
        return Verdict("better", f"Signal: the gradients of two rollouts agree, {numbers}.")
    noise = f"Signal: not told from noise by the gradients of two rollouts, {numbers}."
    return Verdict("unclear", noise + " `policylearn diagnose` says how much data a signal takes.")


def _roughness(history: Sequence[dict[str, Any]]) -> str:
    errors = [value for record in history if math.isfinite(value := as_number(record.get("difference_error")))]
    if not errors or (usual := statistics.median(errors)) < ROUGH:
        return ""
    return f"Derivatives taken by differences are off by {100 * usual:.0f} %: `inner.engine=replay` is exact."


def _subject(result: dict[str, Any]) -> str:
    """What stands behind the arm "learned"; results of earlier versions say whether it has learned, or nothing."""
    return SUBJECTS[result.get("exported") or ("learned" if result.get("learned", True) else "prior")]


def _standing(result: dict[str, Any]) -> str:
    scored = {arm.name: arm for arm in arms(result) if math.isfinite(arm.mean)}
    rival = strongest_baseline(result)
    # With many arms the sentence names the landmarks; the table has the rest.
    landmarks = {"none", "random", "difference", rival.name if rival else ""}
    others = [arm for arm in scored.values() if arm.name in landmarks]
    listed = [f"{_subject(result)} scores {score(scored[LEARNED].mean)}"]
    listed += [f"{arm.label} {score(arm.mean)}" for arm in sorted(others, key=lambda arm: -arm.mean)]
    listed += [f"the oracle {score(scored[ORACLE].mean)}"] if ORACLE in scored else []
    return "On fresh models " + ", ".join(listed)


def _others(result: dict[str, Any]) -> str:
    scored = [f"{arm.label} {score(arm.mean)}" for arm in arms(result) if math.isfinite(arm.mean)]
    return f" Evaluated: {', '.join(scored)}." if scored else ""


def _judge(gap: Paired, rival: str) -> tuple[Outcome, str]:
    if gap.clear:
        return ("better", f"it beats {rival}") if gap.mean > 0 else ("worse", f"{rival} beats it")
    where = "level with" if gap.mean == 0 else "ahead of" if gap.mean > 0 else "behind"
    return "unclear", f"it is {where} {rival}, but {_doubt(gap)}"


def _doubt(gap: Paired) -> str:
    """Why a difference shows nothing."""
    if len(gap.per_seed) == 1:
        return "one seed tells nothing of others"
    if not (math.isfinite(gap.low) and math.isfinite(gap.high)):
        return "there is no interval, so this may be chance"
    if gap.same:
        return f"the difference is the same on all {len(gap.per_seed)} seeds, which leaves nothing to judge chance by"
    return "the 95 % interval includes zero, so this may be chance"
