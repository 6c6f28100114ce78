"""Does a policy that goes by outcomes of whole trainings win where gradients have not? Learns it from uniform masks,
trains fresh models under every arm's masks, writes result.json and the tables of README.md.

.venv/bin/python experiments/outcomes/run.py [TASK ...]     # what is missing; may be interrupted
"""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from policylearn.artefact import load_policy, save_policy
from policylearn.commands.train import train
from policylearn.config import StudyConfig, load_config, load_study
from policylearn.evaluation.study import run_study
from policylearn.report.formats import score
from policylearn.report.study import study_lines
from policylearn.report.write_up import asked_for, read_lines, write_up
from policylearn.runs.state import load_round, select_prefix

FOLDER, OUT = Path(__file__).parent, Path("runs/outcomes")
LEARNED = [
    "learn.stages=[outcomes]",
    "policy.prior={}",
    "policy.network=table",
    "evaluate.seeds=0",
    "evaluate.arms=[random]",
]
LABELS = {"trec6": ["outer.support=400", "outer.query=800"], "planted": []}
"""That an outer loss is taken on; of the planted benchmark as many as in its config."""
COMPARED = {"1": (1, 1), "3": (3, 1), "3x4": (3, 4)}
"""After how many rounds a policy is compared, and what its logits are multiplied with."""


def learn(study: StudyConfig, task: str, console: Console) -> list[dict[str, Any]]:
    """Learn in rounds, keep the policy after those that are compared; what the rounds came to."""
    given, folder = study.tasks[task], OUT / task
    config = load_config(given.config, [*study.set, *given.set, *LEARNED, *LABELS[task]])
    train(config, folder, console)
    artefact, kept = load_policy(folder / "policy"), folder / "outcomes"
    for name, (number, factor) in COMPARED.items():
        phi = select_prefix("phi.", load_round(kept / "checkpoints", number).tensors)
        artefact.policy.load_learned({part: factor * value for part, value in phi.items()})
        save_policy(OUT / f"{task}-{name}", artefact, card=f"{task}, by {number} rounds of outcomes, times {factor}\n")
    return read_lines(kept / "metrics.jsonl")


def table(results: dict[str, Any]) -> list[str]:
    lines = []
    for task, found in results.items():
        lines += [
            f"**{task}**",
            "",
            *study_lines(found["compared"]),
            "",
            "| round | pairs | dev score | agreement |",
            "|---|---|---|---|",
        ]
        for record in found["learned"]:
            cells = [record["round"] + 1, record["pairs"], f"{100 * record['dev']:.1f}", score(record["reliability"])]
            lines.append(f"| {' | '.join(map(str, cells))} |")
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
