"""What a task costs: bytes on disk and in memory, and the time to switch to it. What is in the masks does not matter,
so that these are random ones."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForTokenClassification

from policylearn.models.model import InnerModel
from policylearn.problems.problem import Problem
from policylearn.weight_masks.classifier import MaskedClassifier
from policylearn.weight_masks.masks import initial_scores
from policylearn.weight_masks.plain import fold
from policylearn.weight_masks.selection import maskable
from policylearn.weight_masks.shared import SharedEncoder
from policylearn.weight_masks.storage import load_masks, save_masks
from policylearn.weight_masks.task import WeightMasks, learned_masks

TIMES = 9


def sizes(problem: Problem, tasks: int) -> dict[str, Any]:
    """Bytes of a task as masks and as a fine-tuned copy, and of so many in memory; median milliseconds of switching."""
    model = problem.fresh_model(0)
    masks = {f"task {i}": random_masks(problem, model, seed=i) for i in range(tasks)}
    with TemporaryDirectory() as name:
        files = stored(Path(name), model, masks["task 0"])
    shared = SharedEncoder(model, masks)
    names = list(masks)
    switching = milliseconds(lambda i: shared.use(names[i % 2]))
    weights = sum(rows * columns for rows, columns in masks["task 0"].shapes.values())
    return files | {
        "masked_weights": weights,
        "parameters": sum(p.numel() for p in model.mlm.base_model.parameters()),
        "in_memory": shared.nbytes | {"number_of_tasks": tasks},
        "switch_ms": switching,
    }


def random_masks(problem: Problem, model: InnerModel, seed: int) -> WeightMasks:
    """A task nothing was learned for."""
    classes, width = len(problem.labels), model.mlm.config.hidden_size
    scores = initial_scores(maskable(model, 0), 0.05, seed)
    classifier = MaskedClassifier(model, scores, torch.zeros(classes, width), torch.zeros(classes))
    return learned_masks(classifier, problem.labels)


def stored(folder: Path, model: InnerModel, masks: WeightMasks) -> dict[str, Any]:
    """Bytes of the files of a task, and milliseconds to have it ready from disk."""
    file = save_masks(folder / "masks.safetensors", masks)
    fold(model, masks).save_pretrained(folder / "copy")
    shared = SharedEncoder(model, {})

    def from_masks(_: int) -> None:
        shared.tasks["task"], shared.active = load_masks(file), None
        shared.use("task")

    return {
        "masks_bytes": file.stat().st_size,
        "copy_bytes": (folder / "copy" / "model.safetensors").stat().st_size,
        "masks_from_disk_ms": milliseconds(from_masks),
        "copy_from_disk_ms": milliseconds(lambda _: AutoModelForTokenClassification.from_pretrained(folder / "copy")),
    }


def milliseconds(do: Callable[[int], Any]) -> float:
    """Median wall time of `do(i)`, after one to warm up."""
    spent = []
    for i in range(TIMES + 1):
        started = time.perf_counter()
        do(i)
        spent.append(1000 * (time.perf_counter() - started))
    return median(spent[1:])
