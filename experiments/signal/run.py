"""What makes the signal reliable? One JSON record per task and variant, appended to records.jsonl as it comes; a run
that was stopped goes on where it was. Then result.json and the table of README.md are written.

    .venv/bin/python experiments/signal/run.py                    # every task, then the write-up
    .venv/bin/python experiments/signal/run.py acl_arc trec6      # of these tasks
    .venv/bin/python experiments/signal/run.py --write            # only the write-up

`whole` and `more` are the measurement of `policylearn diagnose CONFIG`, and parts of it (fewer points, fewer batches);
what `screen` and `variants` add is in the files of these names.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from screen import screen
from tasks import TASKS, config_of, numbers
from variants import VARIANTS, vary

from policylearn.arms.arms import initial_policy
from policylearn.arms.policies import build_uniform
from policylearn.credit.analysis import MADE_UP, A, B, Point
from policylearn.credit.credits import Tokens
from policylearn.credit.reliability import measure
from policylearn.credit.sums import advantage
from policylearn.problems.of_config import problem_of
from policylearn.report.write_up import append_line, read_lines, write_up

FOLDER = Path(__file__).parent
RECORDS = FOLDER / "records.jsonl"
KEPT, HALVES = Path("runs/signal"), (A, B)


def whole(task: str, variant: str, *overrides: str) -> Iterator[dict[str, Any]]:
    """The measurement of `policylearn diagnose`, and what parts of it would have shown."""
    config = config_of(task, *overrides)
    problem = problem_of(config)
    points, _ = measure(problem, initial_policy(problem), build_uniform(problem))
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


WHOLE: dict[str, dict[str, tuple[str, ...]]] = {
    "whole": {task: () for task in TASKS},
    "more": {
        "acl_arc": ("credit.batches=120",),
        "chemprot": ("credit.examples=4169", "credit.batches=80", "diagnose.shuffles=1"),
        "scicite": ("credit.examples=7320", "credit.batches=80", "diagnose.shuffles=1"),
        "pubmed_sections": ("credit.examples=2238", "credit.batches=80", "credit.points=2"),
        "trec6": ("credit.examples=4914", "credit.batches=160", "diagnose.shuffles=1"),
    },
}
"""Study → task → overrides of the task's config."""


def studies(tasks: list[str]) -> Iterator[tuple[str, str, Callable[[], Iterator[dict[str, Any]]]]]:
    """(task, study, how to run it) of everything there is."""
    for task in tasks:
        for variant, settings in WHOLE.items():
            if task in settings:
                yield task, variant, lambda t=task, v=variant, s=settings: whole(t, v, *s[t])
    if "trec6" in tasks:
        yield "trec6", "screen", screen
        for name in VARIANTS:
            yield "trec6", f"variant: {name}", lambda n=name: iter([vary(n)])


def run(tasks: list[str]) -> None:
    torch.set_num_threads(1)
    done = {(record["task"], record["study"]) for record in read_lines(RECORDS)}
    for task, study, start in studies(tasks):
        if (task, study) in done:
            continue
        wall, cpu = time.monotonic(), time.process_time()
        found = list(start())
        cost = {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu}
        for record in found:
            append_line(RECORDS, {"task": task, "study": study, **record, **cost})


Columns = dict[str, Callable[[dict[str, Any]], str]]
AGREEMENT: Columns = {
    "reliability [95 %]": lambda r: f"{r['reliability']:.2f} [{r['interval'][0]:.2f}, {r['interval'][1]:.2f}]",
    "half": lambda r: two(r["half"]),
    "label": lambda r: two(r["shares"]["label"]),
    "text": lambda r: two(r["shares"]["text"]),
    "rest": lambda r: two(r["shares"]["rest"]),
    "words": lambda r: str(r["types"]),
    "tokens": lambda r: two(r["token_level"]["same masks"]),
}
CONTROLS: Columns = {
    "net": lambda r: two(r["net"]),
    "shuffled": lambda r: " ".join(two(v) for n, v in r["controls"].items() if n != MADE_UP),
    "made up": lambda r: two(r["controls"].get(MADE_UP)),
    "tokens, shuffled": lambda r: " ".join(two(v) for n, v in r.get("token_controls", {}).items() if n != MADE_UP),
    "tokens, made up": lambda r: two(r.get("token_controls", {}).get(MADE_UP)),
}
DATA: Columns = {
    "examples": lambda r: str(r["examples"]),
    "masked tokens": lambda r: str(sum(r["tokens"])),
}
TASK: Columns = {"task": lambda r: r["task"]}
VARIANT: Columns = {"variant": lambda r: r["variant"]}
COST: Columns = {"CPU s": lambda r: f"{r['cpu_seconds']:.0f}"}


def two(number: float | None) -> str:
    return "" if number is None else f"{number:.2f}"


def table(found: list[dict[str, Any]]) -> list[str]:
    """Three tables: tasks, directions, one thing changed at a time."""
    tasks = [r for r in found if r["variant"] in WHOLE]
    tasks.sort(key=lambda r: (TASKS.index(r["task"]), r["examples"]))
    order = {f"variant: {name}": number for number, name in enumerate(VARIANTS)}
    varied = sorted((r for r in found if r["study"] in order), key=lambda r: order[r["study"]])
    screened = [r for r in found if r["study"] == "screen"]
    return [
        *("The five tasks:", "", *rows(tasks, TASK | DATA | AGREEMENT | CONTROLS | COST)),
        *("", "Outer gradients, TREC-6 (20 batches of 64 texts):", "", *rows(screened, VARIANT | AGREEMENT | COST)),
        *("", "One thing changed, TREC-6 (36 batches of 64 texts):", ""),
        *rows(varied, VARIANT | DATA | AGREEMENT | COST),
    ]


def rows(found: list[dict[str, Any]], columns: Columns) -> list[str]:
    cells = ([show(r) for show in columns.values()] for r in found)
    return [f"| {' | '.join(row)} |" for row in (list(columns), ["---"] * len(columns), *cells)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--write", action="store_true", help="only the write-up")
    given = parser.parse_args()
    if not given.write:
        run(given.tasks)
    write_up(FOLDER, {"records": read_lines(RECORDS)}, table(read_lines(RECORDS)))
