"""Which residues are worth masking? A protein language model is trained further on peptides, paired seeds. Writes
result.json, the table of README.md and liked.png.

.venv/bin/python experiments/proteins/data.py           # first; see there
.venv/bin/python experiments/proteins/run.py            # what is missing; may be stopped, runs stay in runs/proteins
.venv/bin/python experiments/proteins/run.py --float32  # on a processor without bf16
.venv/bin/python experiments/proteins/run.py --table    # from the runs there are
"""

import json
import sys
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from rich.console import Console

from policylearn.arms.arms import arm_policy
from policylearn.artefact import load_policy
from policylearn.commands.train import train
from policylearn.config import EvaluateConfig, load_config
from policylearn.evaluation.statistics import paired_difference
from policylearn.evaluation.trial import run_trial
from policylearn.problems.problem import Problem
from policylearn.problems.texts import TextProblem
from policylearn.report.write_up import append_line, asked_for, read_lines, write_up

FOLDER, RUNS = Path(__file__).parent, Path("runs/proteins")
LINES = FOLDER / "trials.jsonl"
LABELS = {"200 labels": 200, "all labels": None}
"""For policy and classifier alike."""
SEEDS = 10
ARMS = ["none", "random", "random-40", "span", "3-mers", "loss", "pmi", "difference", "learned"]
FINETUNED = {
    "200 labels": ["none", "random", "span", "difference", "learned"],
    "all labels": ["none", "random", "learned"],
}
"""A fine-tuning and its scores take longer than all else, so of some arms only."""
FIRST = ["none", "random", "learned"]
"""Of all labels, before any other."""
PLACES = 8
"""Equal parts of a peptide, from its first residue to its last."""


def task_of(labels: int | None) -> Path:
    """The task with its first so many rows of train."""
    whole = RUNS / "amp"
    if labels is None:
        return whole
    some = RUNS / f"amp-{labels}"
    some.mkdir(exist_ok=True)
    for split in ("train", "dev", "test"):
        rows = (whole / f"{split}.jsonl").read_text("utf-8").splitlines()
        (some / f"{split}.jsonl").write_text("\n".join(rows[: labels if split == "train" else None]) + "\n", "utf-8")
    return some


@lru_cache(maxsize=2)
def problem_of(name: str, precision: str, *methods: str) -> Problem:
    """With the ways in which a trained model is scored."""
    given = [f"name={name}", f"task.path={task_of(LABELS[name])}", "cluster.backend=local"]
    given += [f"model.bf16={json.dumps(precision == 'bf16')}", f"evaluate.downstream={json.dumps(methods)}"]
    given += ["evaluate.finetune.epochs=5"]
    return TextProblem(load_config("configs/proteins.toml", given))


def learn(name: str) -> Path:
    """The policy of these labels."""
    if not (RUNS / name / "policy").exists():
        config = problem_of(name, precision_of(), "probe").config
        train(config.model_copy(update={"evaluate": EvaluateConfig(seeds=0, arms=["random"])}), RUNS / name, Console())
    return RUNS / name / "policy"


def run_missing() -> None:
    """May be stopped."""
    torch.set_num_threads(1)
    for name, arms in (("all labels", FIRST), ("200 labels", ARMS), ("all labels", ARMS)):
        for seed, arm in product(range(SEEDS), arms):
            known = {method for line in read_lines(LINES) if of(line) == (name, arm, seed) for method in line["scores"]}
            wanted = {"probe", "finetune"} if arm in FINETUNED[name] else {"probe"}
            if missing := sorted(wanted - known):
                of_pair = {
                    x["precision"]
                    for x in read_lines(LINES)
                    if (x["labels"], x["seed"]) == (name, seed) and missing[0] in x["scores"]
                }
                run_one(name, arm, seed, precision_of(*of_pair), missing)


def precision_of(*of_pair: str) -> str:
    """That of the trials it is compared with, where there are any."""
    return of_pair[0] if of_pair else "float32" if "--float32" in sys.argv else "bf16"


def run_one(name: str, arm: str, seed: int, precision: str, methods: list[str]) -> None:
    """One trial; its line is kept."""
    problem = problem_of(name, precision, *methods)
    policy = load_policy(learn(name)).policy if arm == "learned" else arm_policy(problem, arm)
    trial = run_trial(problem, policy, arm, seed)
    found = dict(zip(methods, [trial.score, *(trial.extra[method] for method in methods[1:])], strict=True))
    line = {"labels": name, "arm": arm, "seed": seed, "precision": precision, "scores": found}
    append_line(LINES, line)
    print(line, f"{trial.seconds:.0f} s", flush=True)


def of(line: dict[str, Any]) -> tuple[str, str, int]:
    return line["labels"], line["arm"], line["seed"]


def found(name: str, method: str) -> dict[str, dict[int, float]]:
    """Test scores by arm and seed."""
    by_arm: dict[str, dict[int, float]] = {arm: {} for arm in ARMS}
    for line in read_lines(LINES):
        if line["labels"] == name and method in line["scores"]:
            by_arm[line["arm"]][line["seed"]] = line["scores"][method]
    return {arm: scores for arm, scores in by_arm.items() if scores}


Found = dict[str, dict[str, dict[int, float]]]


def table(results: Found) -> Iterator[str]:
    yield f"| masks | {' | '.join(f'{name} | − random' for name in results)} |"
    yield "|---" * (1 + 2 * len(results)) + "|"
    for arm in ARMS:
        cells = [cell for by_arm in results.values() for cell in cells_of(arm, by_arm)]
        yield f"| {arm} | {' | '.join(cells)} |"


def cells_of(arm: str, by_arm: dict[str, dict[int, float]]) -> tuple[str, str]:
    """Accuracy in points, of how many seeds, and what it is above random masks; nothing of an arm that was not run."""
    if arm not in by_arm:
        return "", ""
    mean = f"{100 * np.mean([*by_arm[arm].values()]):.1f} ({len(by_arm[arm])})"
    both = sorted(by_arm[arm].keys() & by_arm["random"].keys())
    if arm == "random" or len(both) < 2:
        return mean, ""
    own, other = ([by_arm[which][seed] for seed in both] for which in (arm, "random"))
    return mean, paired_difference(own, other).told(100)


@torch.no_grad()
def liked(name: str) -> tuple[list[str], np.ndarray]:
    """Residues, and the mean mask probability [20, PLACES] of each by where it stands."""
    policy = load_policy(RUNS / name).policy
    problem = TextProblem(load_config("configs/proteins.toml", [f"task.path={task_of(LABELS[name])}"]))
    sums, counts = np.zeros((2, len(problem.tokenizer), PLACES))
    for number in range(len(problem.domain)):
        row = problem.domain[number]
        ids = torch.from_numpy(row)[None].long()
        p = policy.probabilities(ids, torch.ones_like(ids, dtype=torch.bool))[0, 1:-1].numpy()
        at = np.arange(len(p)) * PLACES // len(p)
        np.add.at(sums, (row[1:-1], at), p)
        np.add.at(counts, (row[1:-1], at), 1)
    first = len(problem.tokenizer) - 20
    names = problem.tokenizer.convert_ids_to_tokens(list(range(first, first + 20)))
    return list(names), (sums / counts.clip(1))[first:]


def draw(names: list[str]) -> None:
    """A map of residues by place for every policy."""
    figure, panels = plt.subplots(1, len(names), figsize=(5 * len(names), 5), squeeze=False, layout="constrained")
    for panel, name in zip(panels[0], names, strict=True):
        residues, p = liked(name)
        order = np.argsort(-p.mean(1))
        shown = panel.imshow(p[order], cmap="magma", aspect="auto", vmin=0)
        panel.set(title=f"learned from {name}", xlabel="from the first residue to the last")
        panel.set_xticks([])
        panel.set_yticks(range(20), [residues[i] for i in order])
        figure.colorbar(shown, ax=panel, label="mean mask probability")
    figure.savefig(FOLDER / "liked.png", dpi=110)


def main() -> None:
    if not asked_for(__doc__, flags=("table", "float32")).table:
        run_missing()
    ways = {"probe": "", "finetune": ", fine-tuned"}
    results = {f"{name}{told}": scores for name in LABELS for way, told in ways.items() if (scores := found(name, way))}
    if drawn := [name for name in LABELS if (RUNS / name / "policy").exists()]:
        draw(drawn)
    write_up(FOLDER, results, list(table(results)))


if __name__ == "__main__":
    main()
