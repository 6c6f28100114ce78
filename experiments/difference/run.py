"""Difference-Masking as it was trained: task and masked texts together, on all labels. Writes trials.jsonl as it goes,
then result.json and the table.

.venv/bin/python experiments/difference/run.py [TASK ...] [SEED ...]   # what is missing; may be stopped
.venv/bin/python experiments/difference/run.py --table                 # from the trials there are
"""

import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policylearn.adapt.chosen import FrozenFeatures
from policylearn.adapt.downstream import score
from policylearn.arms.arms import arm_policy
from policylearn.config import load_config
from policylearn.evaluation.statistics import paired_difference
from policylearn.problems.problem import Problem
from policylearn.problems.texts import TextProblem
from policylearn.report.write_up import append_line, asked_for, read_lines, write_up

FOLDER, SEEDS = Path(__file__).parent, 10
LINES = FOLDER / "trials.jsonl"
TASKS = {
    "acl_arc": ("macro-F1 on the 87 test rows that repeat no training text", "test_noverlap", "63.0 → 74.2"),
    "chemprot": ("accuracy", None, "81.9 → 83.5"),
}
"""What is scored, on which test rows (None: all), and what the paper and its notebook report: no further training →
Difference-Masking, both with RoBERTa-base."""
ALONE, RANDOM = "fine-tuned alone", "joint, random"
ARMS = {
    ALONE: ("finetune", None),
    RANDOM: ("joint", "random"),
    "joint, words": ("joint", "word"),
    "joint, Difference-Masking by similarity": ("joint", "difference"),
    "joint, Difference-Masking by rank": ("joint", "difference:rank"),
}
"""Adaptation, and whose masks."""
FIRST = [*list(ARMS)[:2], "joint, Difference-Masking by similarity"]
"""What the question is about: all seeds of these are run before the others."""
EPOCHS = {"acl_arc": 6, "chemprot": 3}
GIVEN = [
    "cluster.backend=local",
    *["evaluate.finetune.learning_rate=1e-4", "evaluate.joint.learning_rate=1e-4", "evaluate.joint.mlm_weight=0.1"],
]


@cache
def problem_of(task: str) -> Problem:
    """Anchors by TF-ICF of the task's own texts against encyclopedic ones, as configs/TASK.toml has it."""
    own = f"domain.path=../shared/data/tasks/{task}/train.jsonl.gz"
    epochs = [f"evaluate.{how}.epochs={EPOCHS[task]}" for how in ("finetune", "joint")]
    return TextProblem(load_config(f"configs/{task}.toml", [*GIVEN, *epochs, own, "domain.limit=100000"]))


def run_one(task: str, arm: str, seed: int) -> dict[str, Any]:
    """The checkpoint, tuned on all labels; dev selects the epoch, test is read once."""
    started, (method, masks) = time.time(), ARMS[arm]
    problem = problem_of(task)
    policy = None if masks is None else arm_policy(problem, masks)
    found = score(FrozenFeatures(problem, problem.fresh_model(0), policy), [method], seed)[method]
    test = {"test": found.test} | found.extra
    return {"task": task, "arm": arm, "seed": seed, "dev": found.dev, **test, "seconds": round(time.time() - started)}


def run_missing(tasks: list[str], seeds: list[int]) -> None:
    """Processes that are given other tasks or seeds may run beside each other."""
    done = {(x["task"], x["arm"], x["seed"]) for x in read_lines(LINES)}
    others = [arm for arm in ARMS if arm not in FIRST]
    for job in ((task, arm, seed) for task in tasks for arms in (FIRST, others) for seed in seeds for arm in arms):
        if job not in done:
            line = run_one(*job)
            append_line(LINES, line)
            print(line, flush=True)


Found = dict[str, dict[str, dict[int, float]]]
"""By task, arm and seed."""


def table(found: Found) -> Iterator[str]:
    for task, by_arm in found.items():
        what, _, reported = TASKS[task]
        seeds = len(by_arm[ALONE])
        yield from (f"**{task}**, {what}, {seeds} seeds; reported: {reported}", "")
        yield from ("| | score | − alone | − random |", "|---|---|---|---|")
        for arm, scores in by_arm.items():
            fewer = f" (seeds: {len(scores)})" if len(scores) < seeds else ""
            spread = f" ± {100 * np.std([*scores.values()], ddof=1):.1f}" if len(scores) > 1 else ""
            gaps = ("" if arm == base else _gap(scores, by_arm[base]) for base in (ALONE, RANDOM))
            yield f"| {arm}{fewer} | {100 * np.mean([*scores.values()]):.1f}{spread} | {' | '.join(gaps)} |"
        yield ""


def _gap(own: dict[int, float], base: dict[int, float]) -> str:
    return paired_difference([*own.values()], [base[seed] for seed in own]).told(100)


def complete() -> Found:
    """Those of `FIRST` on the seeds that all of them have, every other arm on those of these that it has, if
    these are two or more."""
    found, known = {}, read_lines(LINES)
    for task, (_, split, _) in TASKS.items():
        ran = {arm: {x["seed"]: x for x in known if (x["task"], x["arm"]) == (task, arm)} for arm in ARMS}
        seeds = sorted(set.intersection(*(set(ran[arm]) for arm in FIRST)))
        if len(seeds) > 1:
            shared = {
                arm: {seed: own[seed][split or "test"] for seed in seeds if seed in own} for arm, own in ran.items()
            }
            found[task] = {arm: scores for arm, scores in shared.items() if len(scores) > 1}
    return found


def written(found: Found) -> dict[str, Any]:
    """For result.json: scores in the order of seeds, of arms that lack some by seed."""
    return {
        task: {arm: [*own.values()] if len(own) == len(by_arm[ALONE]) else own for arm, own in by_arm.items()}
        for task, by_arm in found.items()
    }


def main() -> None:
    given, seeds = asked_for(__doc__, [*TASKS, *map(str, range(SEEDS))]), [*range(SEEDS)]
    torch.set_num_threads(1)
    if not given.table:
        tasks = [name for name in given.names if name in TASKS]
        run_missing(tasks or list(TASKS), [int(name) for name in given.names if name.isdigit()] or seeds)
    write_up(FOLDER, written(found := complete()), list(table(found)))


if __name__ == "__main__":
    main()
