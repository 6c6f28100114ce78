"""Trials of one task, shared out among all processes that run this command: for a machine without Ray.

python experiments/real_tasks/worker.py SECONDS TASK gpu:4 gpu          # for so long; the first four arms come first
python experiments/real_tasks/worker.py SECONDS TASK learn gpu:4 gpu    # this process learns policies first

Trials go into runs/real_tasks/claimed/STUDY/TASK, a file each, from where `run.py --table` takes them into trials/,
under the keys by which run.py knows them again. Arms whose policy is not learned yet are left to later.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from run import GPU, learn
from tables import FOLDER, OUT

from policylearn.arms.arms import arm_policy
from policylearn.artefact import load_policy
from policylearn.cluster.worker import Worker
from policylearn.config import StudyConfig, load_study
from policylearn.evaluation.identity import evidence_key, masks_key, trial_key
from policylearn.evaluation.trial import run_trial
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem


def calls(study: StudyConfig, task: str, first: int | None) -> Iterator[tuple[str, int]]:
    """Arms and seeds: what is learned and the first so many arms of the study, seed by seed; None: all arms."""
    learned = list(study.tasks[task].policies)
    for seed in range(study.seeds):
        for arm in [*study.arms[:first], *learned]:
            yield arm, seed


def policy_of(problem: Problem, study: StudyConfig, task: str, arm: str) -> MaskingPolicy | None:
    """FileNotFoundError: it is not learned yet."""
    folder = study.tasks[task].policies.get(arm)
    if folder is None:
        return arm_policy(problem, arm)
    if not (Path(folder) / "manifest.json").exists():
        raise FileNotFoundError(folder)
    return load_policy(folder).policy


def claimed(place: Path) -> bool:
    """Whether this process is the one to make a trial."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        place.with_suffix(".claim").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def work(which: str, task: str, first: int | None, until: float) -> None:
    """All trials of a study on a task that nobody else has claimed."""
    study = load_study(FOLDER / f"{which}.toml", GPU)
    problem = Worker(study.config_of(task)).problem
    evidence, policies, missed = evidence_key(problem), {}, 0
    left = list(calls(study, task, first))
    while left and time.time() < until:
        arm, seed = left.pop(0)
        place = OUT / "claimed" / which / task / f"{arm}-{seed}.json"
        if place.with_suffix(".claim").exists():
            continue
        try:
            policies[arm] = policies[arm] if arm in policies else policy_of(problem, study, task, arm)
        except FileNotFoundError:
            left, missed = [*left, (arm, seed)], missed + 1
            if missed > len(left):  # nothing else is left to do
                time.sleep(1.0)
            continue
        if claimed(place):
            trial = run_trial(
                problem, policies[arm], arm, seed, trial_key(evidence, masks_key(policies[arm], problem.domain), seed)
            )
            place.write_text(json.dumps(asdict(trial)) + "\n", encoding="utf-8")
            print(which, task, arm, seed, round(trial.score, 4), f"{trial.seconds:.1f} s", flush=True)


def main(seconds: float, task: str, jobs: list[str]) -> None:
    until = time.time() + seconds
    if "learn" in jobs:
        study = load_study(FOLDER / "gpu.toml", [])
        for folder in study.tasks[task].policies.values():
            if Path(folder).parent.name.startswith(task):
                learn(study, Path(folder).parent)
    for job in jobs:
        if job != "learn":
            which, _, first = job.partition(":")
            work(which, task, int(first) if first else None, until)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=float)
    parser.add_argument("task", choices=load_study(FOLDER / "gpu.toml", []).tasks)
    parser.add_argument("jobs", nargs="+", help="learn, or a study, STUDY:N with its first N arms alone")
    given = parser.parse_args()
    main(given.seconds, given.task, given.jobs)
