"""What makes the signal reliable? One JSON record per task and variant, appended to records.jsonl as it comes; a run
that was stopped goes on where it was. Then result.json and the table of README.md are written.

    .venv/bin/python experiments/signal/run.py                    # every task, then the write-up
    .venv/bin/python experiments/signal/run.py acl_arc trec6      # of these tasks
    .venv/bin/python experiments/signal/run.py --write            # only the write-up

Two parts. `screen`: one state of the model, the same masked texts for all, variants of the outer gradient. `whole`: the
measurement of `policylearn diagnose CONFIG`, and parts of it (fewer points, fewer batches).
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn.functional import cross_entropy

from policylearn.arms import RANDOM, arm_policy, initial_policy
from policylearn.config import Config, load_config
from policylearn.diagnose import SEED, joined, measure, needs, outer_losses
from policylearn.experiment import write_up
from policylearn.inner import probe
from policylearn.problem import Problem
from policylearn.signal.analysis import MADE_UP, A, B, Point, analyse
from policylearn.signal.credits import (
    Gradients,
    Tokens,
    credits_of,
    masked_texts,
    outer_gradients,
    preconditioned,
    take,
)
from policylearn.signal.halves import text_halves
from policylearn.signal.labels import CrossFitted
from policylearn.signal.types import advantage
from policylearn.signal.variance import Shares
from policylearn.trajectory import Trajectory

FOLDER = Path(__file__).parent
RECORDS = FOLDER / "records.jsonl"
TASKS = ("acl_arc", "chemprot", "scicite", "pubmed_sections", "trec6")
OWN_TEXTS = "domain.path=../shared/data/tasks/{}/train.jsonl.gz"
SMALL = ("diagnose.examples=800", "diagnose.least=3", "diagnose.shuffles=1")
SCREENED: dict[str, tuple[tuple[str, ...], int]] = {
    "acl_arc": ((*SMALL, "inner.batch_size=32"), 4),
    "trec6": ((*SMALL, "inner.batch_size=64", OWN_TEXTS.format("trec6")), 10),
}
"""Task → overrides, and MLM batches of each half."""
SHUFFLED = "shuffled 1"
KEPT, HALVES = Path("runs/signal"), (A, B)
Columns = dict[str, np.ndarray]
"""Credits [M] of one text half, by "variant/labels"."""


def config_of(task: str, *overrides: str) -> Config:
    """The task's config in configs/, with a uniform prior: a prior costs the counting of two corpora."""
    return load_config(f"configs/{task}.toml", ["policy.prior={}", "policy.network=table", *overrides])


# --- outer losses that are not the package's own


def fixed_outer_loss(
    support: Tensor, support_y: Tensor, query: Tensor, query_y: Tensor, classes: int
) -> probe.ProbeFit:
    """Ridge strength and temperature at 1, wherever the optimum is."""
    x, q = probe.standardise(support, query)
    scores = probe.ridge_scores(x, probe.centred_targets(support_y, classes).to(x.dtype), q, 1.0)
    return probe.ProbeFit(cross_entropy(scores, query_y), 0.0, 1.0, 1.0)


def parts_of(model: torch.nn.Module, direction: Gradients) -> dict[str, Gradients]:
    """Embeddings, lower and upper half of the layers' matrices, and vectors (norms and biases)."""
    named, layers = dict(model.named_parameters()), model.mlm.config.num_hidden_layers
    found: dict[str, Gradients] = {part: {} for part in ("embeddings", "lower", "upper", "vectors")}
    for name, d in direction.items():
        number = next((int(piece) for piece in name.split(".") if piece.isdigit()), None)
        part = "embeddings" if number is None else "lower" if number < layers / 2 else "upper"
        found["vectors" if named[name].ndim < 2 else part][name] = d
    return {part: d for part, d in found.items() if d}


def matrices(model: torch.nn.Module, gradients: Gradients) -> Gradients:
    named = dict(model.named_parameters())
    return {name: g for name, g in gradients.items() if named[name].ndim > 1}


# --- part one


def screen(task: str) -> Iterator[dict[str, Any]]:
    """Variants of the outer gradient at the first point of the trajectory, on the same masked texts."""
    settings, batches = SCREENED[task]
    problem = Problem(config_of(task, *settings))
    trajectory = Trajectory.start(problem, initial_policy(problem), SEED)
    for _ in range(max(1, round(problem.config.inner.start * problem.config.inner.steps))):
        trajectory.take_step(next(trajectory.batches))
    directions = dict(screened_directions(trajectory, dict(with_others(screened_losses(problem)))))
    halves = [screened_credits(trajectory, half, directions, batches) for half in (0, 1)]
    for variant, combine in COMBINED.items():
        yield {"variant": variant, **screened(problem, halves, combine)}


def screened_losses(problem: Problem) -> dict[str, CrossFitted]:
    return {name: loss for name, loss in outer_losses(problem).items() if name in (A, B, SHUFFLED)}


def screened_directions(trajectory: Trajectory, losses: dict[str, CrossFitted]) -> Iterator[tuple[str, Gradients]]:
    """Directions by "variant/labels"; parts of the parameters add up to whole ones later."""
    model = trajectory.model
    for name, raw in outer_gradients(model, losses).items():
        ready = preconditioned(trajectory, raw)
        variant, _, labels = name.rpartition("/")
        if variant:
            yield name, matrices(model, raw)
            continue
        yield from ((f"{part}/{labels}", d) for part, d in parts_of(model, raw).items() if labels != SHUFFLED)
        whole = matrices(model, ready)
        yield f"P embeddings/{labels}", parts_of(model, whole)["embeddings"]
        yield f"P layers/{labels}", {n: d for n, d in whole.items() if n not in parts_of(model, whole)["embeddings"]}
        if labels == SHUFFLED:
            yield f"matrices/{labels}", matrices(model, raw)
        else:
            yield f"P damped/{labels}", damped(trajectory, matrices(model, raw))


def with_others(losses: dict[str, CrossFitted]) -> Iterator[tuple[str, CrossFitted]]:
    """The losses, and those of A and B in another form; what is on the same examples shares a forward pass."""
    for name, loss in losses.items():
        yield name, loss
        if name in (A, B):
            single = CrossFitted(loss.problem, loss.picked, loss.y, 2, 1, SEED)
            single.splits = single.splits[:1]
            yield f"one split/{name}", single
            yield f"fixed/{name}", Fixed(loss.problem, loss.picked, loss.y, 4, 4, SEED)


class Fixed(CrossFitted):
    """With ridge strength and temperature at 1, wherever their optimum is."""

    def loss(self, x: Tensor) -> Tensor:
        with patch("policylearn.signal.labels.outer_loss", fixed_outer_loss):
            return super().loss(x)


def damped(trajectory: Trajectory, raw: Gradients) -> Gradients:
    """Preconditioned by 1 / (√v̂ + its mean over the tensor): rows without MLM gradient are not blown up."""
    ones = {name: torch.ones_like(g) for name, g in raw.items()}
    roots = {name: 1 / p for name, p in preconditioned(trajectory, ones).items()}
    return {name: raw[name] / (root + root.mean()) for name, root in roots.items()}


def screened_credits(
    trajectory: Trajectory, half: int, directions: dict[str, Gradients], count: int
) -> tuple[np.ndarray, Columns]:
    """Keys of the masked tokens of one text half, and their credits under every direction (shuffled: half B only)."""
    problem = trajectory.problem
    policy = arm_policy(problem, RANDOM)
    assert policy is not None
    rows = text_halves(problem, SEED)[half]
    names = [name for name in directions if half == 1 or not name.endswith(SHUFFLED)]
    batches = take(masked_texts(problem, policy, rows, SEED), count)
    tokens = joined(list(credits_of(trajectory, batches, [directions[name] for name in names])))
    return tokens.keys, dict(zip(names, tokens.credits.T, strict=True))


def summed(*parts: str) -> Callable[[Columns, str], np.ndarray]:
    """Sum of the parts there are: 0.0 for what has no control of its own."""

    def combine(columns: Columns, labels: str) -> np.ndarray:
        return np.sum([columns[f"{part}/{labels}"] for part in parts if f"{part}/{labels}" in columns], axis=0)

    return combine


MATRICES = summed("embeddings", "lower", "upper", "matrices")


def clipped(credits: np.ndarray) -> np.ndarray:
    """At three standard deviations."""
    return advantage(credits[:, None])[:, 0].clip(-3, 3)


COMBINED: dict[str, Callable[[Columns, str], np.ndarray]] = {
    "AdamW's preconditioner, matrices": summed("P embeddings", "P layers"),
    "AdamW's preconditioner, no embeddings": summed("P layers"),
    "AdamW's preconditioner, damped": summed("P damped"),
    "raw, matrices": MATRICES,
    "raw, all parameters": summed("embeddings", "lower", "upper", "vectors"),
    "raw, norms and biases alone": summed("vectors"),
    "raw, no embeddings": summed("lower", "upper"),
    "raw, embeddings alone": summed("embeddings"),
    "raw, upper half of the layers": summed("upper"),
    "raw, one support/query split": summed("one split"),
    "raw, ridge and temperature fixed": summed("fixed"),
    "raw, credits clipped at 3 sd": lambda columns, labels: clipped(MATRICES(columns, labels)),
    "raw, signs of credits": lambda columns, labels: np.sign(advantage(MATRICES(columns, labels)[:, None])[:, 0]),
}


def screened(problem: Problem, halves: list[tuple[np.ndarray, Columns]], combine: Callable) -> dict[str, Any]:
    """The analysis of one variant."""
    tokens = []
    for (keys, columns), names in zip(halves, ((A, B), (A, B, SHUFFLED)), strict=True):
        known = [combine(columns, name) for name in names]
        tokens.append(Tokens(keys, np.stack([c if np.ndim(c) else np.zeros(len(keys)) for c in known], 1)))
    return numbers([Point(0, [A, B, SHUFFLED], (tokens[0], tokens[1]), np.zeros((0, 2)), {})], problem)


# --- part two


def whole(task: str, variant: str, *overrides: str) -> Iterator[dict[str, Any]]:
    """The measurement of `policylearn diagnose`, and what parts of it would have shown."""
    config = config_of(task, *overrides)
    problem = Problem(config)
    points, _ = measure(problem, initial_policy(problem), Console())
    keep(points, task, variant)
    yield {"variant": variant, **numbers(points, problem), "overrides": overrides}
    if len(points) > 1:
        for number, point in enumerate(points):
            yield {"variant": f"{variant}, point {number + 1} alone", **numbers([point], problem)}
    yield {"variant": f"{variant}, half of the batches", **numbers([halved(p) for p in points], problem)}
    clip = [replace(p, tokens=tuple(clipped_tokens(t) for t in p.tokens)) for p in points]
    yield {"variant": f"{variant}, clipped at 3 sd", **numbers(clip, problem)}


def keep(points: list[Point], task: str, variant: str) -> None:
    """Credits of single tokens, to look at again; too large for the repository."""
    KEPT.mkdir(parents=True, exist_ok=True)
    tokens = {f"{p.step} {h}": t for p in points for h, t in zip(HALVES, p.tokens, strict=True)}
    arrays = {f"{name} {what}": getattr(t, what) for name, t in tokens.items() for what in ("keys", "credits")}
    np.savez_compressed(KEPT / f"{task} {variant}.npz", **arrays)


def halved(point: Point) -> Point:
    first, second = (Tokens(t.keys[: len(t.keys) // 2], t.credits[: len(t.keys) // 2]) for t in point.tokens)
    return replace(point, tokens=(first, second))


def clipped_tokens(tokens: Tokens) -> Tokens:
    return Tokens(tokens.keys, advantage(tokens.credits).clip(-3, 3))


def numbers(points: list[Point], problem: Problem) -> dict[str, Any]:
    found = analyse(points, problem.config.diagnose)
    if problem.config.diagnose.examples is None:
        found["examples"] = len(problem.examples("train"))
    found["needs"] = needs(Shares(**found["shares"]), problem)
    return found


WHOLE: dict[str, dict[str, tuple[str, ...]]] = {
    "whole": {task: () for task in TASKS},
    "more": {
        "acl_arc": ("diagnose.batches=120",),
        "chemprot": ("diagnose.examples=4169", "diagnose.batches=80", "diagnose.shuffles=1"),
        "scicite": ("diagnose.examples=7320", "diagnose.batches=80", "diagnose.shuffles=1"),
        "pubmed_sections": ("diagnose.examples=2238", "diagnose.batches=80", "diagnose.points=2"),
        "trec6": ("diagnose.examples=4914", "diagnose.batches=160", "diagnose.shuffles=1"),
    },
}
"""Study → task → overrides of the task's config."""


def studies(tasks: list[str]) -> Iterator[tuple[str, str, Callable[[], Iterator[dict[str, Any]]]]]:
    """(task, study, how to run it) of everything there is."""
    for task in tasks:
        for variant, settings in WHOLE.items():
            if task in settings:
                yield task, variant, lambda t=task, v=variant, s=settings: whole(t, v, *s[t])
        if task in SCREENED:
            yield task, "screen", lambda t=task: screen(t)


def records() -> list[dict[str, Any]]:
    lines = RECORDS.read_text(encoding="utf-8").splitlines() if RECORDS.is_file() else []
    return [json.loads(line) for line in lines]


def run(tasks: list[str]) -> None:
    torch.set_num_threads(1)
    done = {(record["task"], record["study"]) for record in records()}
    for task, study, start in studies(tasks):
        if (task, study) in done:
            continue
        wall, cpu = time.monotonic(), time.process_time()
        found = list(start())
        cost = {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu}
        with RECORDS.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"task": task, "study": study, **record, **cost}) + "\n" for record in found)


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "task": lambda r: r["task"],
    "variant": lambda r: r["variant"],
    "reliability [95 %]": lambda r: f"{r['reliability']:.2f} [{r['interval'][0]:.2f}, {r['interval'][1]:.2f}]",
    "half": lambda r: two(r["half"]),
    "net": lambda r: two(r.get("net")),
    "shuffled": lambda r: " ".join(two(v) for n, v in r["controls"].items() if n != MADE_UP),
    "made up": lambda r: two(r["controls"].get(MADE_UP)),
    "label": lambda r: two(r["shares"]["label"]),
    "text": lambda r: two(r["shares"]["text"]),
    "rest": lambda r: two(r["shares"]["rest"]),
    "types": lambda r: str(r["types"]),
    "tokens": lambda r: two(r["token_level"]["same masks"]),
    "other masks": lambda r: two(r["token_level"]["other masks"]),
    "tokens, shuffled": lambda r: " ".join(two(v) for n, v in r.get("token_controls", {}).items() if n != MADE_UP),
    "tokens, made up": lambda r: two(r.get("token_controls", {}).get(MADE_UP)),
    "CPU s": lambda r: f"{r['cpu_seconds']:.0f}",
}


def two(number: float | None) -> str:
    return "" if number is None else f"{number:.2f}"


def table(found: list[dict[str, Any]]) -> list[str]:
    order = sorted(found, key=lambda r: (r["study"] != "whole", TASKS.index(r["task"])))
    rows = ([show(r) for show in COLUMNS.values()] for r in order)
    return [f"| {' | '.join(cells)} |" for cells in (list(COLUMNS), ["---"] * len(COLUMNS), *rows)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--write", action="store_true", help="only the write-up")
    given = parser.parse_args()
    if not given.write:
        run(given.tasks)
    write_up(FOLDER, {"records": records()}, table(records()))
