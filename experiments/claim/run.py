"""Stage two: fresh models under the masks of every arm, policy and classifier from the same 200 labels.

.venv/bin/python experiments/claim/run.py --until 03:20           # tasks with a recipe; may be stopped; reads test
.venv/bin/python experiments/claim/run.py trec6 --runs 10 11      # these runs alone, of all arms
.venv/bin/python experiments/claim/run.py --comparison pilot      # with the best recipe so far; rows of dev for test
.venv/bin/python experiments/claim/run.py --comparison second     # another fine-tuning, other label sets
.venv/bin/python experiments/claim/run.py --table                 # into README.md, of all that there is

A trial is a line of trials/TASK.jsonl; those of the other comparisons go to pilot/ and second/.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from arms import ALIKE, COMPARISONS, JOINT, LINES, STRENGTHS, Comparison
from queueing import deadline, lock
from search import Recipe, decided, so_far
from tasks import DEVICE, OUT, TASKS
from transformers.utils.logging import disable_progress_bar

from policylearn.arms.arms import SETTINGS, arm_policy
from policylearn.arms.course import course_of
from policylearn.artefact import load_policy
from policylearn.commands.score import export_scorer
from policylearn.config import Config
from policylearn.evaluation.identity import evidence_key, masks_key, trial_key
from policylearn.evaluation.trial import run_trial
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.report.formats import duration
from policylearn.report.write_up import append_line, read_lines

SETTINGS_OF_ALL = [
    *[f"evaluate.custom.{arm}.prior={{credit={strength}}}" for arm, strength in STRENGTHS.items()],
    *["inner.engine=one_step", "inner.window=1", "outer.parameters=layers"],
    *["inner.start=0.1", "credit.points=3", "credit.batches=60"],  # 5,760 texts
    *["scores.difference.anchors=20", "scores.difference.anchor_count=50", "scores.difference.anchor_ratio=100"],
    "scores.difference.embedding=encoder",
]

Job = tuple[str, int, str]
"""Task, number of the run, arm."""


def queue(tasks: list[str], comparison: Comparison, runs: Sequence[int]) -> Iterator[Job]:
    """All trials: first those of the arms that the question is about."""
    for arms in (comparison.first, comparison.others, comparison.later):
        for number in runs:
            yield from ((task, number, arm) for task in tasks for arm in arms)


def config_of_run(task: str, number: int, comparison: Comparison, recipe: Recipe, tuned: str = "finetune") -> Config:
    """Of all arms of a run that are tuned alike."""
    own = [
        f"evaluate.subsets={comparison.tunings}",  # of 200 rows 200, in another order
        f"evaluate.arms={json.dumps([arm for arm in comparison.arms if arm != JOINT])}",
        f'evaluate.downstream=["{tuned}@200", "probe"]',
    ]
    return recipe.config(task, number, comparison.final, [*SETTINGS_OF_ALL, *comparison.tuning, *own])


@lru_cache(maxsize=len(TASKS))
def open_problem(task: str, number: int, comparison: Comparison, recipe: Recipe, tuned: str) -> tuple[Problem, str]:
    """The problem of a run, and the key of its evidence."""
    problem = problem_of(config_of_run(task, number, comparison, recipe, tuned), device=DEVICE)
    return problem, evidence_key(problem)


def policy_of(problem: Problem, place: Path, arm: str) -> MaskingPolicy | None:
    """That of an arm; one with scores is learned once and kept."""
    if arm == "none" or arm in SETTINGS:
        return arm_policy(problem, arm)
    if not (place / "manifest.json").exists():
        export_scorer(problem, arm, place)
    return load_policy(place).policy


def run_one(job: Job, comparison: Comparison, recipe: Recipe) -> None:
    """A trial, kept."""
    task, number, arm = job
    problem, evidence = open_problem(task, number, comparison, recipe, JOINT if arm == JOINT else "finetune")
    owner = task if arm in ALIKE else f"{task}-{number}"
    started, place = time.time(), OUT / ("policies" if comparison.final else "pilot-policies") / f"{owner}-{arm}"
    policy = policy_of(problem, place, "random" if arm == JOINT else arm)
    learned = time.time() - started
    key = trial_key(evidence, masks_key(policy, problem.domain, course_of(problem.config, arm)), number)
    trial = run_trial(problem, policy, arm, number, key)
    append_line(comparison.trials_of(task), asdict(trial) | {"recipe": recipe.name, "learning": round(learned, 1)})
    print(
        f"{task}, run {number}, {arm}: {'test' if comparison.final else 'rest of dev'} {trial.score:.3f}, "
        f"dev {trial.dev:.3f}; policy {duration(learned)}, trial {duration(trial.seconds)}",
        flush=True,
    )


def recipe_of(task: str, comparison: Comparison) -> Recipe | None:
    """Of a comparison, else that of stage one; in a pilot, the best it has so far. None: it is not known."""
    lines = read_lines(LINES)
    if comparison.recipe or not comparison.final:
        return comparison.recipe or so_far(task, lines)
    found = decided(task, lines)
    return found[0] if found else None


def main(until: float, comparison: Comparison, wanted: list[str], runs: Sequence[int] = ()) -> None:
    """Work until the queue is empty or the time is up; other processes may do so beside this one."""
    torch.set_num_threads(1)
    disable_progress_bar()
    recipes = {task: found for task in wanted if (found := recipe_of(task, comparison))}
    for job in queue(list(recipes), comparison, runs or comparison.runs):
        task, number, arm = job
        if time.time() > until:
            return print("the time is up")
        with lock(OUT / "locks" / f"{comparison.folder}-{'-'.join(map(str, job))}") as mine:
            done = {(x["arm"], x["seed"]) for x in read_lines(comparison.trials_of(task))}
            if mine and (arm, number) not in done:
                run_one(job, comparison, recipes[task])
    print("nothing is left to do, but for tasks without a recipe:", *(set(wanted) - set(recipes)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--comparison", choices=list(COMPARISONS), default="first")
    parser.add_argument("--runs", type=int, nargs="+", default=())
    parser.add_argument("--until", type=deadline, default=np.inf)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        from tables import write_tables

        write_tables()
    else:
        main(given.until, COMPARISONS[given.comparison], given.tasks, given.runs)
