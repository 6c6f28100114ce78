"""What comparisons on one or several tasks show together."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from policylearn.arms.arms import NONE
from policylearn.evaluation.statistics import CONFIDENCE, Difference, holm, pooled_difference, sentence
from policylearn.report.formats import SHARES, score
from policylearn.report.summary import ORACLES, has_equal_budget

Results = Mapping[str, Mapping[str, Any]]
"""Task → its comparison, of `summarise`."""


def pool_results(name: str, results: Results, reference: str, learned: Collection[str]) -> dict[str, Any]:
    """Results of several tasks and their averages, as plain JSON.

    Args:
        name: of the study.
        results: task by task.
        reference: the arm all others are compared with.
        learned: arms that have learned from the task.

    Returns:
        `tasks`: the result of each; `pooled`: arm → its difference to the reference, averaged over the tasks;
        `learned`: those of its arms that have;
        `baseline`: the best arm of equal budget that is none of `learned`; `sentences`: how those differ from the
        reference, from the baseline and from no further pretraining, in plain words.
    """
    arms = shared_arms(results)
    compared = [arm for arm in arms if arm != reference] if reference in arms else []
    found = {arm: pooled(results, arm, reference) for arm in compared}
    corrected = holm({arm: d.p for arm, d in found.items() if d.p is not None})
    baseline = best_baseline(results, learned)
    others = [other for other in dict.fromkeys([reference, baseline, NONE]) if other in arms]
    return {
        "name": name,
        "reference": reference,
        "tasks": dict(results),
        "pooled": {arm: asdict(d) | {"holm": corrected.get(arm)} for arm, d in found.items()},
        "learned": [arm for arm in arms if arm in learned],
        "baseline": baseline,
        "sentences": [
            _sentence(results, arm, other) + (_doubt(found[arm], corrected.get(arm)) if other == reference else "")
            for arm in arms
            if arm in learned
            for other in others
            if other != arm
        ],
    }


def pooled(results: Results, after: str, before: str) -> Difference:
    """The difference of two arms, averaged over the tasks."""
    return pooled_difference([np.subtract(scores(r, after), scores(r, before)) for r in results.values()])


def best_baseline(results: Results, learned: Collection[str]) -> str | None:
    """The arm that scores highest on the mean of all tasks, among those of equal budget that are none of `learned` and
    do not know the answer (as oracles do); picked by these very scores, which favours it. Scorers that read labels
    are among them."""
    fair = [arm for arm in shared_arms(results) if all(has_equal_budget(r["arms"][arm]) for r in results.values())]
    asked = [arm for arm in fair if arm not in {*learned, *ORACLES}]
    means = {arm: float(np.mean([np.mean(scores(r, arm)) for r in results.values()])) for arm in asked}
    return max(means, key=lambda arm: means[arm], default=None)


def shared_arms(results: Results) -> list[str]:
    """Arms that every task has, in the order of the first."""
    first, *others = results.values()
    return [arm for arm in first["arms"] if all(arm in other["arms"] for other in others)]


def scores(result: Mapping[str, Any], arm: str) -> list[float]:
    """One per seed."""
    return result["arms"][arm]["scores"]


def _sentence(results: Results, after: str, before: str) -> str:
    difference, metric = pooled(results, after, before), next(iter(results.values()))["metric"]
    if len(results) == 1:
        return sentence(after, before, difference, metric=metric) + f" on {next(iter(results))}"
    most = max(len(scores(result, after)) for result in results.values())
    return sentence(after, before, difference, most, metric) + f", averaged over {len(results)} tasks"


def _doubt(found: Difference, corrected: float | None) -> str:
    """What to add where the interval leaves out zero, and the table beside it has another p."""
    return f"; p, Holm: {score(corrected)}" if found.shown and (corrected or 0) >= 1 - CONFIDENCE else ""


def check_same_unit(metrics: Mapping[str, str]) -> None:
    """Refuse to average what is of different units.

    Args:
        metrics: task → its metric.

    Raises:
        ValueError: there are several tasks, and one is scored in a unit of its own: that of its labels, or of a metric
            that is not known here.
    """
    apart = [task for task, metric in metrics.items() if metric not in SHARES]
    if apart and len(metrics) > 1:
        raise ValueError(
            f"tasks.{apart[0]}: {metrics[apart[0]]} has a unit of its own, which is averaged with nothing else: "
            f"set task.metric to one of {', '.join(SHARES)}, or leave the task out"
        )
