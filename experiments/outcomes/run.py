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
from policylearn.learning.strength import mean_scores
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
    """Learn, and put the policy where the study has it; what rounds and models of the strengths came to."""
    given, folder = study.tasks[task], OUT / task
    config = load_config(given.config, [*study.set, *given.set, *LEARNED])
    train(config, folder, console)
    shutil.copytree(folder / "policy", FOLDER / "policies" / task, dirs_exist_ok=True)
    rounds, models = (read_lines(folder / stage / METRICS) for stage in (OUTCOMES, STRENGTH))
    return {"rounds": rounds, "models": models}


def table(results: dict[str, Any]) -> list[str]:
    lines = []
    for name, found in results.items():
        ((task, compared),) = found["compared"]["tasks"].items()
        first, *_, last = compared["seeds"]
        lines += [f"**{task}, {'first plan, ' * (name == FIRST)}seeds {first} to {last}**", ""]
        lines += [*study_lines(found["compared"]), "", "| round | pairs | dev score | agreement |", "|---|---|---|---|"]
        for record in found["learned"]["rounds"]:
            cells = [record["round"] + 1, record["pairs"], f"{100 * record['dev']:.1f}", score(record["reliability"])]
            lines.append(f"| {' | '.join(map(str, cells))} |")
        if models := found["learned"].get("models"):
            means = ", ".join(f"{factor} {100 * mean:.1f}" for factor, mean in mean_scores(models).items())
            seconds = sum(record["seconds"] for record in (*found["learned"]["rounds"], *models))
            lines += ["", f"How far to go, on dev, {len(models)} fresh models each: {means}."]
            lines += [f"Rounds and these models took {seconds / 60:.0f} minutes of two workers."]
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
