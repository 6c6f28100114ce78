"""The same comparison on several tasks, and what they show together."""

import json
import os
from collections.abc import Callable
from typing import Any

from rich.console import Console

from policylearn.config import StudyConfig
from policylearn.evaluation.compare import evaluate_policies, opened, with_arms
from policylearn.evaluation.pooling import check_same_unit, pool_results
from policylearn.messages.quote import some
from policylearn.report.printing import print_line
from policylearn.runs.layout import REPORT
from policylearn.runs.reading import known_config
from policylearn.runs.run import Run
from policylearn.runs.stop import has_begun
from policylearn.storage.folder import Storage

FILES = ("study.json", REPORT)
"""What all tasks together come to."""


def run_study(study: StudyConfig, out: str | os.PathLike[str], console: Console, fresh: bool = False) -> dict[str, Any]:
    """Evaluate task by task, each in a folder of its own, and pool what was found; in the end writes OUT/study.json
    and OUT/report.html, which until then are those of an earlier call.

    What was run before is not run again: every trial is known by what it depends on.

    Args:
        study: tasks, arms and seeds.
        out: run directory, a path or a URI.
        console: where progress is shown.
        fresh: forget what `out` holds of all tasks, when trials of the first begin.

    Raises:
        ValueError: `out` holds a run, or files of these names that are of no study; or as in `evaluate_policies`.
        WorkFailed, StorageFailed, Preempted: as in `evaluate_policies`.
    """
    from policylearn.report.study_page import render_study  # here only, as in commands/present.py

    storage, results = Storage.at(out), {}
    _check_takes_study(storage, study)
    learned = {arm for task in study.tasks.values() for arm in task.policies}
    check_study(study)
    begins = _forgetting(study, storage, console) if fresh else lambda: None
    for number, (task, given) in enumerate(study.tasks.items(), 1):
        print_line(console, f"task {number} of {len(study.tasks)}: {task}")
        config, folder = study.config_of(task), str(storage / task)
        results[task] = evaluate_policies(config, folder, console, given.policies, fresh, begins)
    found = pool_results(study.name, results, study.reference, learned)
    for name, text in zip(FILES, (json.dumps(found, indent=2) + "\n", render_study(found)), strict=True):
        storage.write(name, text.encode())
    return found


def _check_takes_study(storage: Storage, study: StudyConfig) -> None:
    """Raises ValueError where a study would replace what is none."""
    storage.check_folder()
    if known_config(storage) is not None:
        raise ValueError(f"{storage} is the folder of a run, and a study has a report of its own: choose another --out")
    if (others := set(FILES) & set(storage.names())) and not _holds_study(storage, study):
        held = some(sorted(others))
        raise ValueError(f"{storage} holds {held} and no study: choose another --out, or take them away")


def _holds_study(storage: Storage, study: StudyConfig) -> bool:
    try:
        known = json.loads(storage.read(FILES[0]))
    except FileNotFoundError:
        return False
    except ValueError:  # storage boundary: cut short, if the tasks of a study are there
        return any(known_config(storage / task) is not None for task in study.tasks)
    return isinstance(known, dict) and {"name", "tasks"} <= known.keys()


def _forgetting(study: StudyConfig, storage: Storage, console: Console) -> Callable[[], None]:
    """What forgets every task at once, those that are not reached among them: without --fresh they would not be new.
    ValueError: the folder of a task holds something else."""
    tasks = {task: str(storage / task) for task in study.tasks}
    runs = [Run.open(out, study.config_of(task), console, fresh=True, compares=True) for task, out in tasks.items()]

    def forget() -> None:
        for name in FILES:
            storage.remove(name)
        for run in runs:
            run.begin()
        has_begun(storage)

    return forget


def check_study(study: StudyConfig) -> None:
    """Touch what all tasks need before the first is trained on: what is wrong with the last must not cost the others.

    Raises:
        ValueError: naming the task, and what is wrong with its arms, policies, tokenizer, model or labels.
    """
    metrics = {}
    for task, given in study.tasks.items():
        try:
            problem, _ = opened(with_arms(study.config_of(task), given.policies), given.policies)
            metrics[task] = problem.task.metric
        except ValueError as error:
            raise ValueError(f"tasks.{task}: {error}") from error
    check_same_unit(metrics)
