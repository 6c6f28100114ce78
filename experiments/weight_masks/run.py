"""Weight masks against full fine-tuning: one JSON record per task, method, sparsity and seed, appended to records.jsonl
as it comes; a run that was stopped goes on where it was. Then sizes and switching are measured, and result.json and the
table of README.md are written.

    .venv/bin/python experiments/weight_masks/run.py                   # all tasks and seeds
    .venv/bin/python experiments/weight_masks/run.py trec6 --seeds 2   # a part of it
    .venv/bin/python experiments/weight_masks/run.py --last-first      # beside the first, on another core
    .venv/bin/python experiments/weight_masks/run.py --write           # only sizes and the write-up
    .venv/bin/python experiments/weight_masks/run.py --table           # only the write-up, sizes as they were measured
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from sizes import sizes
from table import table

from policylearn.adapt.chosen import FrozenFeatures
from policylearn.adapt.downstream import score_chosen, subsets
from policylearn.config import Config, load_config
from policylearn.problems.problem import Problem
from policylearn.problems.texts import TextProblem
from policylearn.registry.known import ADAPTATIONS
from policylearn.report.progress import TaskProgress
from policylearn.report.write_up import append_line, read_lines, write_up
from policylearn.tasks.labelled import Examples

FOLDER = Path(__file__).parent
RECORDS = FOLDER / "records.jsonl"
TASKS = ("chemprot", "scicite", "trec6")
SEEDS = 5
DEV = 500
"""Dev examples that select the epoch, at most."""
SETTINGS = (
    "policy.prior={}",
    "domain.path=../shared/data/tasks/{task}/train.jsonl.gz",
    "domain.limit=10",  # no text but the labelled ones is read
    "evaluate.labelled=1000",
    "evaluate.finetune={epochs=5, batch_size=16, learning_rate=1e-4}",
    "evaluate.weight_mask={epochs=5, batch_size=16, learning_rate=3e-3}",
)


@dataclass(frozen=True)
class Arm:
    """A method, and for masks the share of the weights that is masked before learning."""

    method: str
    sparsity: float | None = None

    def of(self, config: Config) -> Config:
        """The config with this sparsity."""
        if self.sparsity is None:
            return config
        masks = config.evaluate.weight_mask.model_copy(update={"sparsity": self.sparsity})
        return config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"weight_mask": masks})})


ARMS = (Arm("finetune"), *(Arm("weight_mask", sparsity) for sparsity in (0.03, 0.05, 0.1)))


def config_of(task: str) -> Config:
    """The task's config in configs/, with the settings of this experiment."""
    return load_config(f"configs/{task}.toml", [setting.replace("{task}", task) for setting in SETTINGS])


def problem_of(task: str) -> Problem:
    """The task, with at most `DEV` dev examples."""
    config = config_of(task)
    data = TextProblem(config).data()
    dev = data.examples["dev"]
    kept = Examples(dev.rows.take(range(min(DEV, len(dev)))), dev.y[:DEV])
    return TextProblem(config, data=replace(data, examples={**data.examples, "dev": kept}))


def trial(problem: Problem, arm: Arm, seed: int) -> dict[str, Any]:
    """One arm on one seed: the seed draws the labelled examples, their order and the initial masks."""
    wall, cpu = time.monotonic(), time.process_time()
    problem = TextProblem(arm.of(problem.config), data=problem.data())
    picked = next(subsets(problem, seed))
    chosen = ADAPTATIONS.get(arm.method).fit(FrozenFeatures(problem, problem.fresh_model(0)), picked, seed)
    learned = time.process_time() - cpu
    found = score_chosen(problem, arm.method, chosen)
    scores = {"metric": problem.task.metric, "dev": found.dev, "test": found.test, "extra": found.extra}
    cost = {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu, "cpu_learning": learned}
    return scores | cost


def missing(tasks: list[str], seeds: int) -> Iterator[tuple[str, Arm, int]]:
    """What is not in the records yet: seed by seed, so that a run cut short has whole comparisons."""
    for seed in range(seeds):
        for task in tasks:
            for arm in ARMS:
                if not recorded(task, arm, seed):
                    yield task, arm, seed


def recorded(task: str, arm: Arm, seed: int) -> bool:
    """Whether this cell is there, written by whatever process."""
    found = {(x["task"], x["method"], x["sparsity"], x["seed"]) for x in read_lines(RECORDS)}
    return (task, *astuple(arm), seed) in found


def run(tasks: list[str], seeds: int, last_first: bool) -> None:
    """All that is missing, one record at a time."""
    torch.set_num_threads(1)
    todo, problems = list(missing(tasks, seeds)), {}
    with TaskProgress("weight masks", len(todo), Console()) as progress:
        for task, arm, seed in reversed(todo) if last_first else todo:
            if recorded(task, arm, seed):
                break  # here the process that comes from the other end has been
            if task not in problems:
                problems[task] = problem_of(task)
            record = {"task": task, "method": arm.method, "sparsity": arm.sparsity, "seed": seed}
            record |= trial(problems[task], arm, seed)
            if recorded(task, arm, seed):
                break
            append_line(RECORDS, record)
            progress.advance(1, f"{task}, {arm.method} {arm.sparsity or ''}, seed {seed}: dev {record['dev']:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--last-first", action="store_true", help="begin at the end, until what is done already")
    parser.add_argument("--write", action="store_true", help="only sizes and the write-up")
    parser.add_argument("--table", action="store_true", help="only the write-up, with the sizes of result.json")
    given = parser.parse_args()
    if not (given.write or given.table):
        run(given.tasks, given.seeds, given.last_first)
    known = json.loads((FOLDER / "result.json").read_text(encoding="utf-8"))["sizes"] if given.table else None
    measured = known or sizes(problem_of(TASKS[-1]), tasks=8)
    write_up(FOLDER, {"records": read_lines(RECORDS), "sizes": measured}, table(read_lines(RECORDS), measured))
