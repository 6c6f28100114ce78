"""Which residues are worth masking? A protein language model is trained further on peptides, paired seeds. Writes
result.json, the table of README.md and liked.png.

.venv/bin/python experiments/proteins/data.py         # first; see there
.venv/bin/python experiments/proteins/run.py          # what is missing; may be stopped, runs stay in runs/proteins
.venv/bin/python experiments/proteins/run.py --table  # from the runs there are
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from rich.console import Console

from policylearn.artefact import load_policy
from policylearn.commands.train import train
from policylearn.config import load_config
from policylearn.evaluation.statistics import paired_difference
from policylearn.problem import Problem
from policylearn.report.write_up import write_up

FOLDER, RUNS = Path(__file__).parent, Path("runs/proteins")
LABELS = {"200 labels": 200, "200 labels, fine-tuned": 200, "all labels": None}
"""For policy and classifier alike."""
OWN = {
    "200 labels, fine-tuned": [
        *['evaluate.downstream=["finetune"]', "evaluate.finetune.epochs=5", "evaluate.seeds=8"],
        'evaluate.arms=["none", "random", "span", "difference", "learned"]',
    ],
    "all labels": ["evaluate.seeds=4"],
}
"""Settings of a run. A fine-tuning and its scores take longer than all else, so of some arms and seeds only; and all
labels came last."""
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


def run(name: str) -> None:
    """Learn and compare."""
    torch.set_num_threads(1)
    given = [f"name={name}", f"task.path={task_of(LABELS[name])}", "cluster.backend=local", *OWN.get(name, [])]
    train(load_config("configs/proteins.toml", given), RUNS / name, Console())


def found(name: str) -> dict[str, list[float]]:
    """Test scores by arm; nothing where a run is not finished."""
    if not (path := RUNS / name / "result.json").exists():
        return {}
    result = json.loads(path.read_text("utf-8"))
    return {arm: values["scores"] for arm, values in result["arms"].items()}


def table(results: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    yield f"| masks | {' | '.join(f'{name} | − random' for name in results)} |"
    yield "|---" * (1 + 2 * len(results)) + "|"
    for arm in next(iter(results.values())):
        cells = [cell for by_arm in results.values() for cell in cells_of(arm, by_arm)]
        yield f"| {arm} | {' | '.join(cells)} |"


def cells_of(arm: str, by_arm: dict[str, list[float]]) -> tuple[str, str]:
    """Accuracy in points, and what it is above random masks; nothing of an arm that was not run."""
    if arm not in by_arm:
        return "", ""
    mean = f"{100 * np.mean(by_arm[arm]):.1f}"
    if arm == "random":
        return mean, ""
    return mean, paired_difference(by_arm[arm], by_arm["random"]).told(100)


@torch.no_grad()
def liked(name: str) -> tuple[list[str], np.ndarray]:
    """Residues, and the mean mask probability [20, PLACES] of each by where it stands."""
    policy = load_policy(RUNS / name).policy
    problem = Problem(load_config("configs/proteins.toml", [f"task.path={task_of(LABELS[name])}"]))
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
    for name in () if "--table" in sys.argv else LABELS:
        run(name)
    results = {name: scores for name in LABELS if (scores := found(name))}
    if drawn := [name for name in results if "fine-tuned" not in name]:
        draw(drawn)
    write_up(FOLDER, results, list(table(results)))


if __name__ == "__main__":
    main()
