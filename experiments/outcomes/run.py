"""Does a policy that goes by outcomes of whole trainings win where gradients have not? Learns it from uniform masks,
trains fresh models under every arm's masks, writes result.json and the tables of README.md.

.venv/bin/python experiments/outcomes/run.py [TASK ...]     # what is missing; may be interrupted
"""

import json
import shutil
from pathlib import Path
from typing import Any

from rich.console import Console

from policylearn.commands.train import train
from policylearn.config import StudyConfig, load_config, load_study
from policylearn.evaluation.study import run_study
from policylearn.report.formats import score
from policylearn.report.study import study_lines
from policylearn.report.write_up import asked_for, read_lines, write_up
from policylearn.runs.layout import METRICS, OUTCOMES, STRENGTH

FOLDER, OUT = Path(__file__).parent, Path("runs/outcomes")
LEARNED = [
    "learn.stages=[outcomes,strength]",
    "strength.factors=[0,1,2,4,8]",
    "strength.models=10",
    "policy.prior={}",
    "policy.network=table",
    "evaluate.seeds=0",
    "evaluate.arms=[random]",
    *("outer.support=400", "outer.query=800"),
]
FIRST = "first"
"""In result.json, what came of the first plan: ten seeds of TREC-6, policies learned by another rule, see README."""


def learn(study: StudyConfig, task: str, console: Console) -> dict[str, Any]:
    """Learn, and put the policy where the study has it; what the rounds came to, and dev scores by factor."""
    given, folder = study.tasks[task], OUT / task
    config = load_config(given.config, [*study.set, *given.set, *LEARNED])
    train(config, folder, console)
    shutil.copytree(folder / "policy", FOLDER / "policies" / task, dirs_exist_ok=True)
    rounds, models = (read_lines(folder / stage / METRICS) for stage in (OUTCOMES, STRENGTH))
    return {"rounds": rounds, "factors": [model["factors"] for model in models]}


def table(results: dict[str, Any]) -> list[str]:
    lines = []
    for task, found in results.items():
        title = "trec6, first plan, seeds 0 to 9" if task == FIRST else f"{task}, seeds 10 to 39"
        lines += [f"**{title}**", "", *study_lines(found["compared"]), "", "| round | pairs | dev score | agreement |"]
        lines.append("|---|---|---|---|")
        for record in found["learned"]["rounds"]:
            cells = [record["round"] + 1, record["pairs"], f"{100 * record['dev']:.1f}", score(record["reliability"])]
            lines.append(f"| {' | '.join(map(str, cells))} |")
        if factors := found["learned"].get("factors"):
            means = {name: sum(100 * model[name] for model in factors) / len(factors) for name in factors[0]}
            told = ", ".join(f"{name} {mean:.1f}" for name, mean in means.items())
            lines += ["", f"How far to go, on dev, {len(factors)} fresh models each: {told}."]
        lines.append("")
    return lines


def main() -> None:
    study, console = load_study(FOLDER / "study.toml", []), Console()
    path = FOLDER / "result.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for task in asked_for(__doc__, study.tasks, flags=()).names or study.tasks:
        learned = learn(study, task, console)
        compared = run_study(study.model_copy(update={"tasks": {task: study.tasks[task]}}), OUT / "study", console)
        results[task] = {"learned": learned, "compared": compared}
        write_up(FOLDER, results, table(results))


if __name__ == "__main__":
    main()
