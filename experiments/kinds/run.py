"""Every kind of task on real data: expected credit against random masks, by probe and fine-tuning, and how reliable the
signal is. Writes result.json and the table of README.md.

.venv/bin/python experiments/kinds/run.py [KIND ...]   # what is missing; may be interrupted, runs stay in runs/kinds
.venv/bin/python experiments/kinds/run.py --table      # from the runs there are
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from policylearn.commands.diagnose import diagnose
from policylearn.commands.train import train
from policylearn.config import Config, load_config
from policylearn.evaluation.statistics import paired_difference
from policylearn.report.write_up import asked_for, write_up

FOLDER, RUNS, DATA = Path(__file__).parent, Path("runs/kinds"), "../shared/data"
BRIEF = ["evaluate.finetune.epochs=4", 'evaluate.arms=["random", "learned"]']
"""Where dev, which is looked at after every epoch, has many texts."""
KINDS = {
    "pairs": ("tasks/mrpc", ["task.metric=accuracy"]),
    "regression": ("tasks/stsb", ["task.kind=regression", *BRIEF]),
    "multilabel": ("tasks/goemotions_ekman", ["task.kind=multilabel", "task.label=labels", *BRIEF]),
    "tagging": ("ner/ner_ncbi_disease", ["task.kind=tagging", *BRIEF]),
}
"""Data, and what has to be said of it."""
LABELS, SEEDS = 200, 5
SETTINGS = [
    *["task.extra_tests=[]", "cluster.backend=local", "inner.learning_rate=1e-4", "credit.batches=40"],
    *[f"credit.examples={LABELS}", "credit.resplits=2", 'evaluate.arms=["none", "random", "learned"]'],
    *[f"evaluate.seeds={SEEDS}", "evaluate.subsets=1", "diagnose.shuffles=0", "diagnose.least=4"],
]
DOWNSTREAM = [f"probe@{LABELS}", f"finetune@{LABELS}"]


def config_of(kind: str) -> Config:
    path, own = KINDS[kind]
    given = [f"task.path={DATA}/{path}", f"domain.path={DATA}/{path}/train.jsonl.gz", f"name={kind}", *own]
    downstream = f"evaluate.downstream={json.dumps(DOWNSTREAM)}"
    return load_config("configs/credits.toml", ["task.metric=auto", *SETTINGS, downstream, *given])


def run(kind: str) -> None:
    """Learn and compare; then, once, what `diagnose` says."""
    torch.set_num_threads(1)
    train(config_of(kind), RUNS / kind, Console())
    place = RUNS / kind / "signal.json"
    if not place.exists():
        place.write_text(json.dumps(diagnose(config_of(kind), Console())))


def found(kind: str) -> dict[str, Any] | None:
    """Scores by downstream method and arm, and the reliability; None: the run is not there."""
    path = RUNS / kind / "result.json"
    if not path.exists():
        return None
    result = json.loads(path.read_text())
    first = {arm: values["scores"] for arm, values in result["arms"].items()}
    scores = {DOWNSTREAM[0]: first} | {how: result["extra"][how] for how in DOWNSTREAM[1:]}
    signal = RUNS / kind / "signal.json"
    said = json.loads(signal.read_text()) if signal.exists() else {}
    kept = {name: said[name] for name in ("reliability", "interval", "types", "verdict") if name in said}
    return {"metric": result["metric"], "scores": scores, "signal": kept}


def table(results: dict[str, Any]) -> Iterator[str]:
    yield "| kind | data | metric | adapted by | none | random | learned | learned − random | reliability |"
    yield "|---" * 9 + "|"
    for kind, result in results.items():
        for how, by_arm in result["scores"].items():
            shown = (by_arm.get(arm) for arm in ("none", "random", "learned"))
            means = (f"{sum(scores) / len(scores):.3f}" if scores else "" for scores in shown)
            gap = paired_difference(by_arm["learned"], by_arm["random"])
            learned = f"{gap.mean:+.3f} [{gap.low:.3f}, {gap.high:.3f}]"
            signal = reliability(result["signal"]) if how == DOWNSTREAM[0] else ""
            cells = [kind, Path(KINDS[kind][0]).name, result["metric"], how, *means, learned, signal]
            yield f"| {' | '.join(cells)} |"


def reliability(signal: dict[str, Any]) -> str:
    """With its interval, and of how many words."""
    if not signal:
        return "not measured"
    low, high = signal["interval"]
    return f"{signal['reliability']:.2f} [{low:.2f}, {high:.2f}] of {signal['types']} words"


def main() -> None:
    given = asked_for(__doc__, KINDS)
    for kind in () if given.table else given.names or KINDS:
        run(kind)
    before = json.loads((FOLDER / "result.json").read_text("utf-8"))
    results = {kind: result for kind in KINDS if (result := found(kind) or before.get(kind))}
    write_up(FOLDER, results, list(table(results)))


if __name__ == "__main__":
    main()
