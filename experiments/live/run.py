"""What would masks be worth that follow the credits of the moment? Writes trials.jsonl as it goes, then result.json and
README's table.

.venv/bin/python experiments/live/run.py                           # what is missing; may be stopped
.venv/bin/python experiments/live/run.py --sets 0 1 2              # of these label sets; two such may run side by side
.venv/bin/python experiments/live/run.py scicite --arms none random    # of another task, or of these arms alone
.venv/bin/python experiments/live/run.py --table
"""

import argparse
import copy
import gzip
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policylearn.adapt.finetune import Classifier, head_of
from policylearn.adapt.outer import dev_score
from policylearn.adapt.training import adamw, train_best
from policylearn.arms.course import COURSES, USUAL
from policylearn.arms.policies import build_field, build_policy
from policylearn.config import PolicyConfig, load_config
from policylearn.credit.live import LIVE, live_policy
from policylearn.evaluation.pretraining import pretrain
from policylearn.evaluation.statistics import paired_difference
from policylearn.models.model import InnerModel
from policylearn.problems.problem import Problem
from policylearn.problems.texts import TextProblem
from policylearn.report.write_up import append_line, read_lines, write_up
from policylearn.scores.credit import CREDIT

FOLDER, KEPT, DATA = Path(__file__).parent, Path("runs/live"), Path("../shared/data/tasks")
LINES = FOLDER / "trials.jsonl"
FIRST_TASK = "trec6"
TASKS = {FIRST_TASK: "accuracy", "pubmed_sections": "accuracy", "scicite": "macro_f1"}
"""By what they are scored."""
SETS, LABELS, FIRST_SEED, TUNINGS = 10, 200, 1000, 2
DIRECT, ALONE = "random, and labels", "labels alone"
ARMS: dict[str, tuple[str, float, float | None]] = {
    "none": ("none", 0.0, None),
    "random": ("random", 0.0, None),
    "live, 2": ("live", 2.0, None),
    "expected, 2": ("expected", 2.0, None),
    "expected, 4": ("expected", 4.0, None),
    "live, 4": ("live", 4.0, None),
    DIRECT: ("random", 0.0, 1.0),
    ALONE: ("random", 0.0, 0.0),
    "live, 2, and labels": ("live", 2.0, 1.0),
}
"""By which credits, how strongly they are followed, and what masks weigh where every step sees labels as well."""
MEASURES = {
    "dev": "probe",
    "tuned": "fine-tuned",
    "longer": "fine-tuned three times as long",
    "twice": "fine-tuned twice, the second time under a new head",
    "zeros": "fine-tuned twice as long, from a head of zeros",
}
AGAIN = ("longer", "twice", "zeros")
"""Measures of what fine-tuning once has left on the table."""
FIRST = ("none", "random", "live, 2", DIRECT, ALONE, "live, 2, and labels")
ELSEWHERE = ("none", "random", DIRECT, ALONE)
"""Arms of the other tasks, and those that are fine-tuned twice."""
LONGER = {"random": 3, "live, 2": 3, DIRECT: 3, ALONE: 3, "live, 2, and labels": 3}
"""Arms that are fine-tuned for so many times the epochs as well."""
ZEROS = {
    FIRST_TASK: ("none", "random", ALONE, DIRECT, "live, 2", "expected, 4"),
    "": ("none", "random", ALONE, DIRECT),
}
"""Arms that are fine-tuned from a head of zeros as well, of the first task and of the others; a line of its own."""


def prepare(task: str, number: int) -> Path:
    """The task with a label set of train; all texts of train are there to be read."""
    place = KEPT / f"{task}-{number}"
    if not place.exists():
        place.mkdir(parents=True)
        for split in ("train", "dev", "test"):
            with gzip.open(DATA / task / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
                rows = file.read().splitlines()
            if split == "train":
                rows = [rows[i] for i in np.random.default_rng(number).permutation(len(rows))[:LABELS]]
            (place / f"{split}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return place


@lru_cache(maxsize=1)
def problem_of(task: str, number: int) -> Problem:
    """Of one label set."""
    given = [f"task.path={prepare(task, number)}", f"task.metric={TASKS[task]}", "task.extra_tests=[]"]
    given += [
        "inner.learning_rate=1e-4",
        f"domain.path={DATA}/{task}/train.jsonl.gz",
        "cluster.backend=local",
        "credit.batches=60",
        "credit.resplits=2",
    ]
    given += ["evaluate.finetune.learning_rate=1e-4", "model.bf16=false"]  # any processor, and all arms alike
    return TextProblem(load_config("configs/credits.toml", given))


def trained(problem: Problem, seed: int, by: str, strength: float, weight: float | None) -> InnerModel:
    """A fresh model after its steps; of "none" there are none."""
    model = problem.fresh_model(seed)
    if by == "none":
        return model
    if by == "live":
        policy = live_policy(problem, build_field(problem), strength)
    else:
        prior = {CREDIT: strength} if by == "expected" else {}
        policy = build_policy(problem, PolicyConfig(prior=prior, network="none"))
    course = COURSES[LIVE] if by == "live" else USUAL
    if weight is not None:
        course = replace(course, labels=COURSES["multitask"].labels, mlm_weight=weight)
    pretrain(problem, model, policy, seed, problem.config.inner.steps, course)
    return model


def tuned(problem: Problem, model: InnerModel, seed: int, times: int = 1, heads: int = 1, zeros: bool = False) -> float:
    """Dev score after fine-tuning on the labels, mean of several orders. Nothing is chosen: the last epoch counts. The
    head starts from the ridge solution, or from zeros; where there are several, each from what the last has left."""
    usual, picked, found = problem.config.evaluate.finetune, np.arange(LABELS), []
    config = usual.model_copy(update={"epochs": times * usual.epochs})
    for order in range(TUNINGS):
        encoder = copy.deepcopy(model)
        for number in range(heads):
            with torch.no_grad():
                weight, bias = (x * (not zeros) for x in head_of(problem, picked, encoder))
            classifier = Classifier(encoder, weight, bias)
            loss, other = partial(problem.kind.training_loss, classifier, problem.labelled("train")), TUNINGS * number
            train_best(
                classifier, loss, count().__next__, adamw(classifier, config), config, picked, seed + order + other
            )
        found.append(problem.kind.score(classifier, problem.labelled("dev"), problem.watch))
    return float(np.mean(found))


def run_missing(task: str, sets: Sequence[int], arms: Collection[str]) -> None:
    """Label set by label set, first the arms that the question is about; may be stopped."""
    torch.set_num_threads(1)
    stages = (FIRST, ARMS.keys() - FIRST) if task == FIRST_TASK else (ELSEWHERE,)
    for number, arm in [(n, arm) for stage in stages for n in sets for arm in ARMS if arm in stage and arm in arms]:
        found = [line for line in read_lines(LINES) if (task_of(line), line["arm"], line["set"]) == (task, arm, number)]
        known = set[str]().union(*found)
        wanted = {"dev", "tuned"} | ({"longer"} if arm in LONGER and task == FIRST_TASK else set())
        wanted = set() if "tuned" in known else wanted  # a line from before there was another measure is whole
        wanted |= {"zeros"} if arm in ZEROS.get(task, ZEROS[""]) else set()
        wanted |= {"twice"} if arm in ELSEWHERE and task == FIRST_TASK else set()
        if wanted := wanted - known:
            run_one(task, number, arm, wanted)


def task_of(line: dict[str, Any]) -> str:
    """Lines from before there were others name none."""
    return line.get("task", FIRST_TASK)


def run_one(task: str, number: int, arm: str, wanted: Collection[str]) -> None:
    """A model trained, and kept what is wanted of it."""
    problem = problem_of(task, number)
    model = trained(problem, FIRST_SEED + number, *ARMS[arm])
    ways: dict[str, Callable[[], float]] = {
        "dev": lambda: dev_score(problem, model),
        "tuned": lambda: tuned(problem, model, number),
        "longer": lambda: tuned(problem, model, number, LONGER[arm]),
        "twice": lambda: tuned(problem, model, number, heads=2),
        "zeros": lambda: tuned(problem, model, number, 2, zeros=True),
    }
    line = {"task": task, "arm": arm, "set": number} | {name: ways[name]() for name in MEASURES if name in wanted}
    append_line(LINES, line)
    print(line, flush=True)


Found = dict[str, dict[int, float]]
"""By arm and label set."""


def scores_of(task: str, measure: str) -> Found:
    """Of one measure, of the arms that have it."""
    found: Found = {}
    for line in read_lines(LINES):
        if measure in line and task_of(line) == task:
            found.setdefault(line["arm"], {})[line["set"]] = line[measure]
    return {arm: found[arm] for arm in ARMS if arm in found}


def table(found: Found, title: str, usual: Found) -> Iterator[str]:
    """Of one measure; what is `usual` are the scores of the same arms fine-tuned once from the ridge head."""
    heads = ["− random", "− none", "− expected of that strength", "− random, and labels", "− itself, fine-tuned once"]
    yield from (f"**{title}**", "", f"| masks, strength | dev score | {' | '.join(heads)} |", "|---" * 7 + "|")
    for arm in found:
        gaps = [gap(found, arm, base) for base in ("random", "none", arm.replace("live", "expected"), DIRECT)]
        gaps.append(gap(found | {"once": usual[arm]}, arm, "once") if arm in usual else "")
        yield f"| {arm} | {100 * np.mean(list(found[arm].values())):.1f} ({len(found[arm])}) | {' | '.join(gaps)} |"
    yield ""


def gap(found: Found, arm: str, base: str) -> str:
    """In points, and of how many label sets: those that both have; from three on with a 95 % interval."""
    both = sorted(found[arm].keys() & found.get(base, {}).keys())
    if arm == base or not both:
        return ""
    own, other = ([found[name][number] for number in both] for name in (arm, base))
    told = (
        paired_difference(own, other).told(100) if len(both) > 2 else f"{100 * np.mean(np.subtract(own, other)):+.1f}"
    )
    return f"{told} ({len(both)})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", nargs="?", default=FIRST_TASK, choices=TASKS)
    parser.add_argument("--sets", type=int, nargs="+", default=range(SETS))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if not given.table:
        run_missing(given.task, given.sets, given.arms)
    result, shown = {}, list[str]()
    for task, (measure, name) in product(TASKS, MEASURES.items()):
        if found := scores_of(task, measure):
            result[f"{task}, {name}"] = found
            shown += table(found, f"{task}, {name}", scores_of(task, "tuned") if measure in AGAIN else {})
    write_up(FOLDER, result, shown)


if __name__ == "__main__":
    main()
