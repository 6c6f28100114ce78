"""What makes a policy learn fast and reliably on the planted benchmark; writes result.json, learning.png, the table.

.venv/bin/python experiments/planted/run.py                  # everything, or what is missing of it in runs/planted
.venv/bin/python experiments/planted/run.py uniform-0 K=10   # these runs only
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from policylearn.commands.train import train
from policylearn.config import load_config
from policylearn.evaluation.compare import evaluate_policies
from policylearn.evaluation.statistics import share_of_lead
from policylearn.report.write_up import asked_for, write_up

FOLDER, RUNS, SEEDS = Path(__file__).parent, Path("runs/planted"), 10
FIXED = ("random", "difference", "distractors", "oracle")
ARMS = [f"evaluate.seeds={SEEDS}"]
UNIFORM, WRONG = "policy.prior={}", "policy.prior={distractors=12}"

PRIORS: dict[str, list[str]] = {"difference": [], "uniform": [UNIFORM], "wrong": [WRONG]}
"""Where learning starts, each with the defaults and three learning seeds."""

SCORE_FUNCTION = [
    "learn.estimator=score_function",
    'masking.design="independent"',
    "learn.rounds=6",
    "learn.rollouts=4",
]
"""Whole trainings compared, from Difference-Masking, with 24 times the inner steps of one round of credit."""

SHORT = [UNIFORM, "learn.rounds=5", "learn.rollouts=4"]
STUDY = {
    "K=30": [],
    "K=1": ["inner.window=1", "inner.every=1"],
    "K=10": ["inner.window=10", "inner.every=10"],
    "K=74": ["inner.window=74", "inner.every=74"],
    "K=149": ["inner.window=149", "inner.every=149"],
    "first window only": ["inner.every=150"],
    "last two windows": ["inner.start=0.5"],
    "rate .5": ["learn.learning_rate=0.5"],
    "rate 2": ["learn.learning_rate=2.0"],
    "no KL": ["learn.kl=0"],
    "4 folds": ["outer.folds=4"],
    "all parameters": ['outer.parameters="all"'],
    "relaxed": ["learn.estimator=relaxed"],
    "explore": ['masking.design="explore"'],
    "independent": ['masking.design="independent"'],
    "p_max .5": ["masking.p_max=0.5"],
    "context network": ['policy.network="context"', "learn.learning_rate=0.03"],
}
"""One setting changed at a time, five rounds of four from no prior at all, where learning is hardest; one seed."""


def runs() -> dict[str, list[str]]:
    """Every run's overrides by its name."""
    starts = {f"{name}-{seed}": [*how, f"learn.seed={seed}"] for name, how in PRIORS.items() for seed in range(3)}
    learning = dict(starts)
    learning |= {f"difference-{seed}, 8 rounds": [*starts[f"difference-{seed}"], "learn.rounds=8"] for seed in range(2)}
    for name in starts:
        learning[f"{name}, 8 rounds of 4"] = [*starts[name], "learn.rounds=8", "learn.rollouts=4"]
    learning["difference-0, 4 rounds of 4"] = [*starts["difference-0"], "learn.rounds=4", "learn.rollouts=4"]
    learning["wrong-1, 12 rounds of 4"] = [*starts["wrong-1"], "learn.rounds=12", "learn.rollouts=4"]
    return learning | {"score_function": SCORE_FUNCTION} | {name: [*SHORT, *how] for name, how in STUDY.items()}


def learned(name: str, overrides: list[str]) -> dict[str, Any]:
    """Learn under these settings (or find that done), and score fresh models under the policy."""
    config = load_config(None, [*overrides, *ARMS, 'evaluate.arms=["learned"]', 'cluster.backend="local"'])
    folder = RUNS / name.replace(" ", "_")
    result = train(config, folder, Console(quiet=True))
    rounds = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "overrides": overrides,
        "scores": result["arms"]["learned"]["scores"],
        "dev": [record["dev"] for record in rounds],
        "steps": np.cumsum([record["inner_steps"] * config.learn.rollouts for record in rounds]).tolist(),
        "reliability": [record["reliability"] for record in rounds],
        "seconds": sum(record["seconds"] for record in rounds),
    }


def fixed() -> dict[str, list[float]]:
    """Scores of the arms that learn nothing, on the same seeds."""
    arms = f"evaluate.arms={json.dumps(FIXED)}"
    config = load_config(None, [*ARMS, arms, 'cluster.backend="local"'])
    found = evaluate_policies(config, RUNS / "fixed", Console(quiet=True), {})
    return {arm: found["arms"][arm]["scores"] for arm in FIXED}


def share(scores: list[float], arms: dict[str, list[float]]) -> dict[str, Any]:
    """Share of the gap from random to oracle that was recovered, with its 95 % interval over the seeds."""
    mean, low, high = share_of_lead(scores, arms["oracle"], arms["random"])
    below = int((np.array(scores) < np.array(arms["difference"])).sum())
    return {"mean": mean, "low": low, "high": high, "below": below}


def table(result: dict[str, Any]) -> list[str]:
    """One line per arm and per run."""
    arms = result["fixed"]
    lines = ["| | test accuracy, 10 fresh models | share of the gap | seeds below Difference-Masking | seconds |"]
    lines += ["|---" * 5 + "|"]
    for name, scores in arms.items():
        lines.append(f"| *{name}* | {_spread(scores)} | | | |")
    for name, run in result["runs"].items():
        gap = share(run["scores"], arms)
        gained = f"{gap['mean']:.0%} [{gap['low']:.0%}, {gap['high']:.0%}]"
        lines.append(f"| {name} | {_spread(run['scores'])} | {gained} | {gap['below']} | {run['seconds']:.0f} |")
    return lines


def _spread(scores: list[float]) -> str:
    return f"{np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f}, worst {min(scores):.3f}"


def plot(result: dict[str, Any]) -> None:
    """Dev score of the rollouts' own models against inner steps, by run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, run in result["runs"].items():
        axes.plot(run["steps"], run["dev"], marker="o", markersize=3, label=name)
    axes.set(xlabel="inner MLM steps", ylabel="dev accuracy of the rollouts' models")
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(FOLDER / "learning.png", dpi=130)


def main() -> None:
    names = asked_for(__doc__, runs(), flags=()).names
    written = FOLDER / "result.json"
    result = json.loads(written.read_text()) if written.exists() else {"runs": {}}
    if "fixed" not in result:
        result["fixed"] = fixed()
    for name in names or runs():
        if name in result["runs"] and result["runs"][name]["overrides"] == runs()[name]:
            continue
        result["runs"][name] = learned(name, runs()[name])
        result["runs"] = {key: result["runs"][key] for key in runs() if key in result["runs"]}
        write_up(FOLDER, result, table(result))
        plot(result)
        print(name, result["runs"][name]["scores"], flush=True)


if __name__ == "__main__":
    main()
