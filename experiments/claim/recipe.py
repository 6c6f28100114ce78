"""Stage one: with which recipe does pretraining under random masks help fine-tuning most? By dev; test is not there.

.venv/bin/python experiments/claim/recipe.py --until 03:20    # what is missing; may be stopped
.venv/bin/python experiments/claim/recipe.py --table          # into README.md, from recipe.jsonl

One process of one thread; needs torch, transformers, safetensors, scikit-learn, scipy, pydantic and rich, no Ray.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from queueing import append, deadline, read_lines
from tasks import FOLDER, TASK, TASKS, config_of
from transformers.utils.logging import disable_progress_bar

from policylearn.arms import arm_policy
from policylearn.config import Config
from policylearn.evaluation.downstream import FrozenFeatures, score
from policylearn.evaluation.pretraining import Pretraining, pretrain
from policylearn.problem import Problem
from policylearn.report.formats import duration

LINES = FOLDER / "recipe.jsonl"
SETS, SEEDS, FINALISTS = 6, 3, 3
TUNING_RATES = (5e-5, 1e-4, 2e-4)
STEPS, RATES, LONGER = (80, 320), (1e-4, 3e-4, 3e-5), 4
MASKING = {"15": "0.15", "30": "0.3", "30→15": "{kind='linear', rates=[0.3, 0.15]}"}
"""Masking rates in percent → as a setting."""

Line = dict[str, Any]
"""A recipe with one seed on one label set: what has been found."""


@dataclass(frozen=True)
class Recipe:
    """How to pretrain under random masks, and to fine-tune afterwards; no steps: no further pretraining."""

    tuning_rate: float
    steps: int = 0
    learning_rate: float = 1e-4
    masking: str = "15"
    schedule: str = "constant"
    text: str = TASK

    @property
    def name(self) -> str:
        """What differs from the usual is named."""
        others = {"masking": (self.masking, "15"), "": (self.schedule, "constant"), "on": (self.text, TASK)}
        said = [f"{word} {value}".strip() for word, (value, usual) in others.items() if value != usual]
        parts = [f"{self.steps} steps at {self.learning_rate:g}", *said] if self.steps else ["none"]
        return ", ".join([*parts, f"tuned at {self.tuning_rate:g}"])

    def config(self, task: str, number: int) -> Config:
        """The experiment on a label set."""
        own = [f"inner.learning_rate={self.learning_rate}", f"inner.schedule={self.schedule}"]
        own += [f"inner.steps={max(1, self.steps)}", f"masking.rate={MASKING[self.masking]}"]
        return config_of(task, number, False, self.text, [*own, f"evaluate.finetune.learning_rate={self.tuning_rate}"])


Job = tuple[str, Recipe, int]
"""Task, recipe, seed: one pretraining, which all label sets share."""


def queue(lines: list[Line]) -> Iterator[Job]:
    """All jobs that can be named by now, most informative first; later ones start from what the earlier ones found."""
    for task in TASKS:
        yield from ((task, recipe, 0) for recipe in recipes(task, lines))
    for seed in range(1, SEEDS):
        for task in TASKS:
            yield from ((task, recipe, seed) for recipe in finalists(task, lines))


def recipes(task: str, lines: list[Line]) -> Iterator[Recipe]:
    """The search: each step varies what the best recipe so far, with seed 0, leaves open."""
    tried = [Recipe(rate) for rate in TUNING_RATES]
    yield from tried
    tuned = best(task, tried, lines)
    grid = [replace(tuned, steps=steps, learning_rate=rate) for steps in STEPS for rate in RATES]
    yield from grid
    masked = [replace(best(task, grid, lines), masking=rate) for rate in MASKING]
    yield from masked[1:]
    middle = best(task, masked, lines)
    yield replace(middle, schedule="linear")
    yield from (replace(middle, text=corpus) for corpus in TASKS[task].corpora)
    yield replace(middle, steps=LONGER * middle.steps)


def best(task: str, tried: list[Recipe], lines: list[Line]) -> Recipe:
    """The one with the highest mean dev score of seed 0; the first of equals, and of those that were not run yet."""
    return max(tried, key=lambda recipe: mean(task, recipe, lines))


def mean(task: str, recipe: Recipe, lines: list[Line]) -> float:
    """Dev score after fine-tuning, with seed 0; -inf: it has not been run on all label sets."""
    found = [x["dev"]["finetune"] for x in lines if (x["task"], x["recipe"], x["seed"]) == (task, recipe.name, 0)]
    return float(np.mean(found)) if len(found) == SETS else -np.inf


def finalists(task: str, lines: list[Line]) -> list[Recipe]:
    """No further pretraining, and the best of the others; none before all have been run."""
    tried = list(dict.fromkeys(recipes(task, lines)))
    if any(mean(task, recipe, lines) == -np.inf for recipe in tried):
        return []
    none, trained = ([r for r in tried if bool(r.steps) == kind] for kind in (False, True))
    ranked = sorted(trained, key=lambda recipe: -mean(task, recipe, lines))
    return [best(task, none, lines), *ranked[:FINALISTS]]


def missing(job: Job, lines: list[Line]) -> list[int]:
    """Label sets that a job has not been run on."""
    task, recipe, seed = job
    done = {x["set"] for x in lines if (x["task"], x["recipe"], x["seed"]) == (task, recipe.name, seed)}
    return [number for number in range(SETS) if number not in done]


def run_job(job: Job, numbers: list[int], until: float) -> None:
    """Pretrain once, then fine-tune and probe on every label set that is left, while there is time."""
    (task, recipe, seed), started = job, time.time()
    problem = Problem(recipe.config(task, numbers[0]))
    model, training = problem.fresh_model(seed), Pretraining([], 0)
    if recipe.steps and (policy := arm_policy(problem, "random")):
        training = pretrain(problem, model, policy, seed, recipe.steps)
    spent = time.time() - started
    print(f"{task}, {recipe.name}, seed {seed}: pretrained in {duration(spent)}", flush=True)
    for left, number in zip(reversed(range(len(numbers))), numbers, strict=True):
        if (began := time.time()) > until:
            return
        found = score(FrozenFeatures(Problem(recipe.config(task, number)), model), ["finetune", "probe"], seed)
        dev, rest = ({how: getattr(s, part) for how, s in found.items()} for part in ("dev", "test"))
        line = {"task": task, "recipe": recipe.name, "seed": seed, "set": number, "dev": dev, "rest": rest}
        took = time.time() - began
        append(LINES, line | {"loss": training.tail, "pretraining": round(spent, 1), "seconds": round(took, 1)})
        print(
            f"{task}, {recipe.name}, seed {seed}, set {number}: dev {dev['finetune']:.2f}, probe {dev['probe']:.2f}, "
            f"{duration(took)}; this recipe ends in about {duration(left * took)}",
            flush=True,
        )


def main(until: float) -> None:
    """Work until the queue is empty or the time is up."""
    torch.set_num_threads(1)
    disable_progress_bar()
    while time.time() < until:
        lines = read_lines(LINES)
        job = next((job for job in queue(lines) if missing(job, lines)), None)
        if job is None:
            return print("nothing is left to do")
        run_job(job, missing(job, lines), until)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--until", type=deadline, default=np.inf)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        from tables import write_tables

        write_tables()
    else:
        main(given.until)
