"""The same comparison on several tasks, and what they show together."""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console

from policylearn.config import StudyConfig
from policylearn.evaluation.compare import evaluate_policies
from policylearn.evaluation.statistics import Difference, holm, pooled_difference, sentence
from policylearn.report.study_page import render_study
from policylearn.storage import Storage

Results = Mapping[str, Mapping[str, Any]]
"""Task → what `evaluate_policies` found."""


def run_study(study: StudyConfig, out: str | os.PathLike[str], console: Console, fresh: bool = False) -> dict[str, Any]:
    """Evaluate task by task, each in a folder of its own, and pool what was found; writes OUT/study.json
    and OUT/report.html.

    What was run before is not run again: every trial is known by what it depends on.

    Args:
        study: tasks, arms and seeds.
        out: run directory, a path or a URI.
        console: where progress is shown.
        fresh: forget what `out` holds.

    Raises:
        ValueError, WorkFailed, StorageFailed, Preempted: as in `evaluate_policies`.
    """
    storage, results = Storage.at(out), {}
    for number, (task, given) in enumerate(study.tasks.items(), 1):
        console.print(f"task {number} of {len(study.tasks)}: {task}", highlight=False)
        results[task] = evaluate_policies(study.config_of(task), str(storage / task), console, given.policies, fresh)
        found = pool(study, results)
        storage.write("study.json", (json.dumps(found, indent=2) + "\n").encode())
        storage.write("report.html", render_study(found).encode())
    return found


def pool(study: StudyConfig, results: Results) -> dict[str, Any]:
    """What several tasks show together, as plain JSON.

    Returns:
        `tasks`: the result of each; `pooled`: arm → its difference to the reference, averaged over the tasks;
        `baseline`: the best arm of equal budget that learned nothing; `sentences`: the comparisons in plain words.
    """
    arms, learned = shared_arms(results), {arm for task in study.tasks.values() for arm in task.policies}
    found = {arm: pooled(results, arm, study.reference) for arm in arms if arm != study.reference}
    corrected = holm({arm: d.p for arm, d in found.items() if d.p is not None})
    baseline = best_baseline(results, learned)
    others = dict.fromkeys(filter(None, [study.reference, baseline]))
    return {
        "name": study.name,
        "reference": study.reference,
        "tasks": dict(results),
        "pooled": {arm: asdict(d) | {"holm": corrected.get(arm)} for arm, d in found.items()},
        "baseline": baseline,
        "sentences": [_sentence(results, arm, other) for arm in arms if arm in learned for other in others],
    }


def pooled(results: Results, after: str, before: str) -> Difference:
    """The difference of two arms, averaged over the tasks."""
    return pooled_difference([np.subtract(scores(r, after), scores(r, before)) for r in results.values()])


def best_baseline(results: Results, learned: Collection[str]) -> str | None:
    """The arm that scores highest on the mean of all tasks, among those of equal budget that learned nothing from the
    task; picked by these very scores, which favours it."""
    fair = [arm for arm in shared_arms(results) if all(r["arms"][arm]["equal_budget"] for r in results.values())]
    means = {a: np.mean([np.mean(scores(r, a)) for r in results.values()]) for a in fair if a not in learned}
    return max(means, key=lambda arm: means[arm], default=None)


def shared_arms(results: Results) -> list[str]:
    """Arms that every task has, in the order of the first."""
    first, *others = results.values()
    return [arm for arm in first["arms"] if all(arm in other["arms"] for other in others)]


def scores(result: Mapping[str, Any], arm: str) -> list[float]:
    """One per seed."""
    return result["arms"][arm]["scores"]


def _sentence(results: Results, after: str, before: str) -> str:
    tasks = f", averaged over {len(results)} tasks" if len(results) > 1 else f" on {next(iter(results))}"
    return sentence(after, before, pooled(results, after, before)) + tasks
