"""Tables of README.md."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from policylearn.evaluation.statistics import Difference, pooled_difference

Records = Sequence[dict[str, Any]]
CHOSEN = -1.0
"""In place of a sparsity: that which dev chose."""


def table(records: Records, measured: dict[str, Any]) -> list[str]:
    """Scores, their differences to fine-tuning, and what a task costs."""
    return [*scores(records), "", *cost(measured)]


def scores(records: Records) -> list[str]:
    """A line per task and method; over all tasks a line per sparsity, and one of that which dev chooses."""
    lines = [
        "| task | method | masked at first | seeds | test | difference [95 %] | dev | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    tasks = sorted({r["task"] for r in records})
    for task in tasks:
        mine = [r for r in records if r["task"] == task]
        for sparsity in (None, *_sparsities(mine)):
            lines.append(
                _line(task, sparsity, [r for r in mine if r["sparsity"] == sparsity], differences(mine, sparsity))
            )
    by_task = [[r for r in records if r["task"] == task] for task in tasks]
    rows = {f"{sparsity:.0%}": [differences(mine, sparsity) for mine in by_task] for sparsity in _sparsities(records)}
    rows["chosen on dev"] = [differences(chosen_on_dev(mine), CHOSEN) for mine in by_task]
    for name, each in rows.items():
        if len(each) > 1 and all(len(found) > 1 for found in each):
            found = pooled_difference(each)
            lines.append(f"| all | weight masks | {name} | {found.seeds} | | {_points(found)} | | |")
    return lines


def chosen_on_dev(records: Records) -> Records:
    """Of a task, the records of fine-tuning and, under `CHOSEN`, of every seed the masks that are best on dev;
    of equals, those of the larger sparsity."""
    masks, tuned = ([r for r in records if (r["sparsity"] is None) == without] for without in (False, True))
    best = {r["seed"]: r for r in sorted(masks, key=lambda r: (r["dev"], r["sparsity"]))}
    return [*tuned, *({**r, "sparsity": CHOSEN} for r in best.values())]


def _sparsities(records: Records) -> list[float]:
    return sorted({r["sparsity"] for r in records if r["sparsity"]})


def differences(records: Records, sparsity: float | None) -> np.ndarray:
    """Test score under masks less that of fine-tuning, of every seed that has both."""
    masks, tuned = ({r["seed"]: r["test"] for r in records if r["sparsity"] == wanted} for wanted in (sparsity, None))
    both = sorted(masks.keys() & tuned.keys())
    return np.array([masks[seed] - tuned[seed] for seed in both])


def _line(task: str, sparsity: float | None, mine: Records, apart: np.ndarray) -> str:
    method, share = ("fine-tuning", "") if sparsity is None else ("weight masks", f"{sparsity:.0%}")
    against = _points(pooled_difference([apart])) if sparsity is not None and len(apart) else ""
    test, dev = ([100 * r[split] for r in mine] for split in ("test", "dev"))
    spread = f" ± {np.std(test, ddof=1):.1f}" if len(test) > 1 else ""
    seconds = np.mean([r["cpu_seconds"] for r in mine])
    return (
        f"| {task} | {method} | {share} | {len(mine)} | {np.mean(test):.1f}{spread} | {against} | {np.mean(dev):.1f} "
        f"| {seconds:.0f} |"
    )


def _points(found: Difference) -> str:
    interval = "" if found.low is None or found.high is None else f" [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"{100 * found.mean:+.1f}{interval}"


def cost(measured: dict[str, Any]) -> list[str]:
    """Masks beside fine-tuned copies."""
    memory = measured["in_memory"]
    number, copy = memory["number_of_tasks"], 4 * measured["parameters"]
    together = memory["encoder"] + memory["room"] + memory["tasks"]
    ratio = measured["copy_bytes"] / measured["masks_bytes"]
    return [
        "| a task costs | weight masks | fine-tuned copy | ratio |",
        "|---|---|---|---|",
        f"| on disk, MB | {_mb(measured['masks_bytes'])} | {_mb(measured['copy_bytes'])} | {ratio:.0f} |",
        f"| in memory, MB | {_mb(memory['tasks'] / number)} | {_mb(copy)} | {copy * number / memory['tasks']:.0f} |",
        f"| {number} tasks in memory with all they need, MB | {_mb(together)} | {_mb(copy * number)} "
        f"| {copy * number / together:.1f} |",
        f"| ready from disk, ms | {measured['masks_from_disk_ms']:.0f} | {measured['copy_from_disk_ms']:.0f} | |",
        f"| switched to in memory, ms | {measured['switch_ms']:.0f} | 0 | |",
    ]


def _mb(size: float) -> str:
    return f"{size / 1e6:.2f}"
