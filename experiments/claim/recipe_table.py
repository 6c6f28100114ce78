"""What stage one has found, as a table."""

from dataclasses import asdict
from typing import Any

import numpy as np
from claim_table import as_table
from search import SEEDS, Line, best, decided, finalists, mean, recipes
from tasks import TASKS

from policylearn.evaluation.statistics import Difference, paired_difference

HEAD = [
    "task",
    "random masks, recipe",
    "runs",
    "dev, fine-tuned",
    "− none",
    "dev, probe",
    "− none",
    "rest, fine-tuned",
]
MEASURES = {"fine-tuned": ("dev", "finetune"), "probe": ("dev", "probe"), "rest": ("rest", "finetune")}


def recipe_rows(task: str, lines: list[Line]) -> list[dict[str, Any]]:
    """Every recipe that was begun: its means, and its paired differences to no further pretraining, tuned alike."""
    found: dict[str, dict[tuple[int, int], Line]] = {}
    for line in (line for line in lines if line["task"] == task):
        found.setdefault(line["recipe"], {})[line["seed"], line["set"]] = line
    return [compared(name, runs, found.get(f"none, {name.rsplit(', ', 1)[1]}", {})) for name, runs in found.items()]


def compared(name: str, runs: dict[tuple[int, int], Line], none: dict[tuple[int, int], Line]) -> dict[str, Any]:
    """One recipe and none, over the label sets and seeds that both have."""
    shared, row = (
        sorted(runs.keys() & none.keys()),
        {"recipe": name, "runs": len(runs), "pairs": len(runs.keys() & none.keys())},
    )
    for measure, (part, how) in MEASURES.items():
        row[measure] = float(np.mean([x[part][how] for x in runs.values()]))
        after, before = ([x[key][part][how] for key in shared] for x in (runs, none))
        row[f"{measure} − none"] = asdict(paired_difference(after, before)) if shared and runs is not none else None
    return row


def cells(task: str, row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    score = {measure: f"{100 * row[measure]:.1f}" for measure in MEASURES}
    gap = {measure: points(row[f"{measure} − none"]) for measure in MEASURES}
    rest = f"{score['rest']} ({gap['rest']})" if gap["rest"] else score["rest"]
    return [
        task,
        row["recipe"],
        str(row["runs"]),
        score["fine-tuned"],
        gap["fine-tuned"],
        score["probe"],
        gap["probe"],
        rest,
    ]


def points(found: dict[str, Any] | None) -> str:
    """A difference with its interval."""
    if found is None:
        return ""
    d = Difference(**found)
    interval = f" [{100 * d.low:.1f}, {100 * d.high:.1f}]" if d.low is not None and d.high is not None else ""
    return f"{100 * d.mean:+.1f}{interval}"


def verdict(task: str, lines: list[Line]) -> str:
    """What dev says of a task so far."""
    tried = list(dict.fromkeys(recipes(task, lines)))
    done = [recipe for recipe in tried if mean(task, recipe, lines) > -np.inf]
    if found := decided(task, lines):
        recipe, helps = found
        return f"- {task}: {recipe.name}; on dev {'above' if helps else 'not above'} no further pretraining"
    if not done:
        return f"- {task}: no recipe has been run on all label sets"
    state = f"seed 0 is done, seeds to {SEEDS - 1} are not" if finalists(task, lines) else f"{len(done)} recipes so far"
    return f"- {task}: not decided ({state}); highest is {best(task, done, lines).name}, of several and so too high"


def recipe_table(lines: list[Line]) -> tuple[dict[str, Any], list[str]]:
    """Every recipe by task, and the lines of the table."""
    result = {task: recipe_rows(task, lines) for task in TASKS}
    rows = [cells(task, row) for task, found in result.items() for row in found]
    table = as_table(HEAD, rows)
    return result, [*table, "", *(verdict(task, lines) for task in TASKS)]
