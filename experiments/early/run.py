"""Are credits of early states worth something when they are turned round? Learns, compares, writes result.json and the
tables of README.md.

.venv/bin/python experiments/early/run.py [TASK ...]     # what is missing; may be interrupted. One thread
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from policylearn.commands.train import train
from policylearn.config import StudyConfig, load_config, load_study
from policylearn.evaluation.study import run_study
from policylearn.learning.strength import mean_scores
from policylearn.report.study import study_lines
from policylearn.report.write_up import asked_for, read_lines, write_up
from policylearn.runs.layout import METRICS, STRENGTH

FOLDER, OUT = Path(__file__).parent, Path("runs/early")
LEARNED = [
    "learn.stages=[expected,strength]",
    *("policy.prior={}", "policy.network=none"),
    *("credit.trainings=4", "credit.points=8"),
    *("strength.factors=[0,-0.5,0.5,-1,1,-2,2]", "strength.models=10"),
    *("evaluate.seeds=0", "evaluate.arms=[random]"),
]


def learn(study: StudyConfig, task: str, console: Console) -> list[dict[str, Any]]:
    """Learn, and keep the policy in policies/; what the models of the strengths came to."""
    given, folder = study.tasks[task], OUT / task
    train(load_config(given.config, [*study.set, *given.set, *LEARNED]), folder, console)
    shutil.copytree(folder / "policy", FOLDER / "policies" / task, dirs_exist_ok=True)
    return read_lines(folder / STRENGTH / METRICS)


def table(results: dict[str, Any]) -> list[str]:
    lines = []
    for name, found in results.items():
        means = ", ".join(f"{factor} {100 * mean:.1f}" for factor, mean in mean_scores(found["models"]).items())
        lines += [f"**{name}**", "", *study_lines(found["compared"]), ""]
        minutes = sum(record["seconds"] for record in found["models"]) / 60
        lines += [f"How far to go, on dev, {len(found['models'])} fresh models each: {means}."]
        lines += [f"These models took {minutes:.0f} minutes of one thread.", ""]
    return lines


def main() -> None:
    torch.set_num_threads(1)
    study, console, path = load_study(FOLDER / "study.toml", []), Console(), FOLDER / "result.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for task in asked_for(__doc__, study.tasks, flags=()).names or study.tasks:
        models = learn(study, task, console)
        given = study.tasks[task].model_copy(update={"policies": {"early credits": str(FOLDER / "policies" / task)}})
        compared = run_study(study.model_copy(update={"tasks": {task: given}}), OUT / "study", console)
        results[task] = {"models": models, "compared": compared}
        write_up(FOLDER, results, table(results))


if __name__ == "__main__":
    main()
