"""Stage one: with which recipe does pretraining under random masks help fine-tuning most? By dev; test is not there.

.venv/bin/python experiments/claim/recipe.py [TASK ...] --until 03:20    # what is missing; may be stopped
.venv/bin/python experiments/claim/recipe.py --table          # into README.md, from recipe.jsonl

One process of one thread; needs torch, transformers, safetensors, scikit-learn, scipy, pydantic and rich, no Ray.
"""

import argparse
import time

import torch
from arms import LINES
from queueing import deadline, lock
from search import Job, missing, queue
from tasks import DEVICE, OUT, TASKS
from transformers.utils.logging import disable_progress_bar

from policylearn.adapt.chosen import FrozenFeatures
from policylearn.adapt.downstream import score
from policylearn.arms.arms import arm_policy
from policylearn.evaluation.pretraining import Pretraining, pretrain
from policylearn.problems.of_config import problem_of
from policylearn.report.formats import duration
from policylearn.report.write_up import append_line, read_lines


def run_job(job: Job, numbers: list[int], until: float) -> None:
    """Pretrain once, then fine-tune and probe on every label set that is left, while there is time."""
    (task, recipe, seed), started = job, time.time()
    problem = problem_of(recipe.config(task, numbers[0]), device=DEVICE)
    model, training = problem.fresh_model(seed), Pretraining([], 0)
    if recipe.steps and (policy := arm_policy(problem, "random")):
        training = pretrain(problem, model, policy, seed, recipe.steps)
    spent = round(time.time() - started, 1)
    print(f"{task}, {recipe.name}, seed {seed}: pretrained in {duration(spent)}", flush=True)
    for left, number in zip(reversed(range(len(numbers))), numbers, strict=True):
        if (began := time.time()) > until:
            return
        labelled = problem_of(recipe.config(task, number), device=DEVICE)
        found = score(FrozenFeatures(labelled, model), ["finetune", "probe"], seed)
        dev, rest = ({how: getattr(s, part) for how, s in found.items()} for part in ("dev", "test"))
        line = {"task": task, "recipe": recipe.name, "seed": seed, "set": number, "dev": dev, "rest": rest}
        took = round(time.time() - began, 1)
        append_line(
            LINES,
            line | {"loss": training.tail, "device": DEVICE, "pretraining": round(spent, 1), "seconds": round(took, 1)},
        )
        print(
            f"{task}, {recipe.name}, seed {seed}, set {number}: dev {dev['finetune']:.2f}, probe {dev['probe']:.2f}, "
            f"{duration(took)}; this recipe ends in about {duration(left * took)}",
            flush=True,
        )


def main(until: float, wanted: list[str]) -> None:
    """Work until the queue is empty or the time is up; other processes may do so beside this one."""
    torch.set_num_threads(1)
    disable_progress_bar()
    while time.time() < until:
        lines = read_lines(LINES)
        jobs = [job for job in queue(lines, wanted) if missing(job, lines)]
        if not jobs:
            return print("nothing is left to do")
        if not any(claim(job, until) for job in jobs):
            time.sleep(1.0)  # the others have all of it


def claim(job: Job, until: float) -> bool:
    """Do a job, unless another process is at it."""
    task, recipe, seed = job
    with lock(OUT / "locks" / f"{task}, {recipe.name}, {seed}") as mine:
        if mine and (left := missing(job, read_lines(LINES))):
            run_job(job, left, until)
        return mine


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--until", type=deadline, default=float("inf"))
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        from tables import write_tables

        write_tables()
    else:
        main(given.until, given.tasks)
