"""The search for a recipe: what to try next, given what dev has said of the others. Pure functions of recipe.jsonl."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tasks import TASK, TASKS, config_of

from policylearn.config import Config

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

    def config(self, task: str, number: int, final: bool = False, settings: Sequence[str] = ()) -> Config:
        """The experiment on a label set, see `config_of`."""
        own = [f"inner.learning_rate={self.learning_rate}", f"inner.schedule={self.schedule}"]
        own += [f"inner.steps={max(1, self.steps)}", f"masking.rate={MASKING[self.masking]}"]
        own += [f"evaluate.{how}.learning_rate={self.tuning_rate}" for how in ("finetune", "joint")]
        return config_of(task, number, final, self.text, [*own, *settings])


Job = tuple[str, Recipe, int]
"""Task, recipe, seed: one pretraining, which all label sets share."""


def queue(lines: list[Line], tasks: Sequence[str] = tuple(TASKS)) -> Iterator[Job]:
    """All jobs that can be named by now, most informative first; later ones start from what the earlier ones found."""
    for task in tasks:
        yield from ((task, recipe, 0) for recipe in recipes(task, lines))
    for seed in range(1, SEEDS):
        for task in tasks:
            yield from ((task, recipe, seed) for recipe in finalists(task, lines))


def recipes(task: str, lines: list[Line]) -> Iterator[Recipe]:
    """The search: each step varies what the best recipe so far, with seed 0, leaves open. The usual comes first:
    it tells most."""
    tried = [Recipe(rate) for rate in TUNING_RATES]
    yield from (tried[0], *(replace(tried[0], steps=STEPS[0], learning_rate=rate) for rate in RATES[:2]))
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


def mean(task: str, recipe: Recipe, lines: list[Line], seeds: Sequence[int] = (0,)) -> float:
    """Dev score after fine-tuning; -inf: it has not been run on all label sets."""
    known = [x for x in lines if (x["task"], x["recipe"]) == (task, recipe.name) and x["seed"] in seeds]
    return float(np.mean([x["dev"]["finetune"] for x in known])) if len(known) == SETS * len(seeds) else -np.inf


def finalists(task: str, lines: list[Line]) -> list[Recipe]:
    """No further pretraining, and the best of the others; none before all have been run."""
    tried = list(dict.fromkeys(recipes(task, lines)))
    if any(mean(task, recipe, lines) == -np.inf for recipe in tried):
        return []
    none = best(task, [recipe for recipe in tried if not recipe.steps], lines)
    trained = [recipe for recipe in tried if recipe.steps and recipe.tuning_rate == none.tuning_rate]
    return [none, *sorted(trained, key=lambda recipe: -mean(task, recipe, lines))[:FINALISTS]]


def decided(task: str, lines: list[Line]) -> tuple[Recipe, bool] | None:
    """The recipe to compare masks with, and whether it is above no further pretraining; None: it is not known yet."""
    ended = finalists(task, lines)
    if not ended or any(missing((task, recipe, seed), lines) for recipe in ended for seed in range(SEEDS)):
        return None
    scores = [mean(task, recipe, lines, range(SEEDS)) for recipe in ended]
    winner = int(np.argmax(scores[1:])) + 1
    return ended[winner], scores[winner] > scores[0]


def so_far(task: str, lines: list[Line]) -> Recipe:
    """The best that pretrains, by seed 0; the usual one where none has been run."""
    return best(task, [recipe for recipe in recipes(task, lines) if recipe.steps], lines)


def missing(job: Job, lines: list[Line]) -> list[int]:
    """Label sets that a job has not been run on."""
    task, recipe, seed = job
    done = {x["set"] for x in lines if (x["task"], x["recipe"], x["seed"]) == (task, recipe.name, seed)}
    return [number for number in range(SETS) if number not in done]
