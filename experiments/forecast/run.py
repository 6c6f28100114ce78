"""Does the forecast of `policylearn diagnose` come true? Writes trials.jsonl, then result.json and the table.

.venv/bin/python experiments/forecast/run.py                 # what is missing; may be stopped
.venv/bin/python experiments/forecast/run.py scicite-200     # one setting
.venv/bin/python experiments/forecast/run.py --table         # the table and picture, from what is there
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from rich.console import Console
from scipy.stats import spearmanr, t

from policylearn.adapt.probe import readout_of
from policylearn.adapt.ridge import probe_loss
from policylearn.arms.arms import arm_policy
from policylearn.arms.policies import build_policy, build_uniform, sources_of, use_scores
from policylearn.config import Config, PolicyConfig, load_config
from policylearn.credit.analysis import Point, analyse
from policylearn.credit.credits import masked_texts, take
from policylearn.credit.forecast import forecast
from policylearn.credit.halves import labelled_halves, text_halves
from policylearn.credit.reliability import SEED, measure
from policylearn.credit.sums import advantage
from policylearn.credit.variance import Shares
from policylearn.evaluation.pretraining import pretrain
from policylearn.models.chunks import extract
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import Scores
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.report.console_watch import ConsoleWatch
from policylearn.report.write_up import append_line, asked_for, read_lines, write_up
from policylearn.scores.credit import CREDIT, expected_scores
from policylearn.scores.occurrences import OccurrenceMeans

matplotlib.use("agg")
import matplotlib.pyplot as plt

FOLDER = Path(__file__).parent
LINES = FOLDER / "trials.jsonl"
TASKS = ("trec6", "pubmed_sections", "scicite", "chemprot")
AMOUNTS = (200, 2000)
SETTINGS = [f"{task}-{amount}" for amount in AMOUNTS for task in TASKS]
SEEDS = 6
ARMS = ("random", "credit")


def config_of(setting: str) -> Config:
    task, _, amount = setting.partition("-")
    path = f"../shared/data/tasks/{task}"
    given = [
        *[
            f"task.path={path}",
            "task.metric=accuracy",
            "task.extra_tests=[]",
            f"domain.path={path}/train.jsonl.gz",
        ],
        *["learn.stages=[expected]", "cluster.backend=local", "inner.learning_rate=1e-4", "diagnose.least=4"],
        *[f"credit.examples={amount}", "credit.batches=40", "diagnose.shuffles=0", f"name={setting}"],
    ]
    return load_config("configs/credits.toml", given)


def policy_of(problem: Problem, points: Sequence[Point]) -> MaskingPolicy:
    """Of the credits that the forecast was made from, all of them: the mean over both halves of the labels."""
    uniform, halves = build_uniform(problem), text_halves(problem, SEED)
    means = OccurrenceMeans(problem.vocabulary, sources_of(problem).lexicon)
    for number, point in enumerate(points):
        for half, rows in enumerate(halves):
            values = advantage(advantage(point.tokens[half].credits[:, :2]).mean(1))
            start = 0
            for batch in take(masked_texts(problem, uniform, rows, number), problem.config.credit.batches):
                credits = torch.full(batch.mask.shape, torch.nan, dtype=torch.float64)
                credits[batch.mask] = torch.from_numpy(values[start : start + int(batch.mask.sum())])
                start += int(batch.mask.sum())
                means.add(batch.original, batch.real, credits)
            assert start == len(values)
    scores: Scores = expected_scores(means, sources_of(problem))
    use_scores(problem, CREDIT, scores)
    return build_policy(problem, PolicyConfig(prior={CREDIT: problem.config.credit.strength}, network="none"))


def outcome(problem: Problem, model: Any, picked: np.ndarray) -> dict[str, float]:
    """Loss and quality on dev of the ridge probe fitted on the examples that credits are measured from."""
    pad, train, dev = problem.tokenizer.pad_token_id, problem.examples("train"), problem.examples("dev")
    with torch.no_grad():
        x, z = extract(model, train.rows, picked, pad), extract(model, dev.rows, range(len(dev)), pad)
        fit = probe_loss(x, train.y[picked], z, dev.y, readout_of(problem))
    return {"loss": float(fit.loss), "score": fit.quality}


def run(setting: str, console: Console) -> None:
    """The forecast, and what comes; all at once, for the policy is not kept."""
    torch.set_num_threads(1)
    config = config_of(setting)
    problem = problem_of(config, ConsoleWatch(console))
    points, _ = measure(problem, build_uniform(problem), build_uniform(problem))
    found = analyse(points, config)
    line = {"setting": setting, "reliability": found["reliability"], "lasting": found["lasting"]}
    line |= {"forecast": forecast(points, Shares(**found["shares"]), config)}
    print(json.dumps(line), flush=True)
    policies = {"random": arm_policy(problem, "random"), "credit": policy_of(problem, points)}
    picked = np.concatenate(labelled_halves(problem, config.credit.examples, SEED))
    came: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for seed in range(SEEDS):
        for arm in ARMS:
            model = problem.fresh_model(seed)
            pretrain(problem, model, policies[arm], 1_000 + seed, config.inner.steps)
            came[arm].append(outcome(problem, model, picked))
        print(setting, seed, came["random"][-1], came["credit"][-1], flush=True)
    append_line(LINES, line | {"came": came})


def gains(line: dict[str, Any], what: str) -> np.ndarray:
    """By seed, how much better credit did than random."""
    random, credit = (np.array([one[what] for one in line["came"][arm]]) for arm in ARMS)
    return random - credit if what == "loss" else credit - random


def half_width(values: np.ndarray) -> float:
    return float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)


DIGITS = 9
"""Further ones differ from processor to processor."""


def analysed(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Forecasts beside what came; the slope of a line through 0, and the rank correlation."""
    settings = {}
    for line in lines:
        came = {what: gains(line, what) for what in ("loss", "score")}
        settings[line["setting"]] = {
            "reliability": line["reliability"],
            "lasting": line["lasting"]["states"],
            "forecast": line["forecast"],
            **{what: [float(g.mean()), half_width(g)] for what, g in came.items()},
        }
    x = np.array([s["forecast"]["loss"] for s in settings.values()])
    result: dict[str, Any] = {"settings": settings}
    if len(x) > 2:
        for what in ("loss", "score"):
            y = np.array([s[what][0] for s in settings.values()])
            slope, spearman = float(x @ y / (x @ x)), float(spearmanr(x, y).statistic)
            result[what] = {"slope": round(slope, DIGITS), "spearman": round(spearman, DIGITS)}
    return result


def table(result: dict[str, Any]) -> list[str]:
    rows = ["| task, labels | reliability | lasts | advantage, sd | forecast | outer loss on dev | points on dev |"]
    rows.append("|---" * 7 + "|")
    for name, s in result["settings"].items():
        (loss, wide), (score, far), told = s["loss"], (100 * np.array(s["score"])).tolist(), s["forecast"]
        rows.append(
            f"| {name.replace('-', ', ')} | {s['reliability']:.2f} | {s['lasting']:.2f} | {told['advantage']:.2f} "
            f"| {-told['loss']:+.3f} | {-loss:+.3f} ± {wide:.3f} | {score:+.1f} ± {far:.1f} |"
        )
    if "loss" in result:
        loss, score = result["loss"], result["score"]
        said = (
            f"{loss['slope']:.2f} of the forecast comes of the outer loss (rank correlation {loss['spearman']:.2f}), "
        )
        said += f"{score['slope']:.2f} points per .01 of it (rank correlation {score['spearman']:.2f})"
        rows += ["", f"Lines through 0: {said}."]
    return rows


def draw(result: dict[str, Any]) -> None:
    """Forecast against what came, with intervals: a calibration plot."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for axis, what, scale, label in zip(
        axes, ("loss", "score"), (1, 100), ("outer loss on dev, lowered by", "points on dev, gained"), strict=True
    ):
        top = max(s["forecast"]["loss"] for s in result["settings"].values()) * 1.15
        for name, s in result["settings"].items():
            x, (y, half) = s["forecast"]["loss"], scale * np.array(s[what])
            axis.errorbar(x, y, half, fmt="o" if name.endswith("-200") else "s", color="#3b6ea5", capsize=2)
            axis.annotate(name, (x, y), textcoords="offset points", xytext=(5, 4), fontsize=7)
        axis.axhline(0, color="#888888", linewidth=0.8)
        if what in result:
            axis.plot([0, top], [0, top * result[what]["slope"] * scale], color="#c46a2b", linewidth=1)
        axis.set(xlabel="forecast: outer loss lowered by", ylabel=label, xlim=(min(0, axis.get_xlim()[0]), top))
    figure.savefig(FOLDER / "calibration.png", dpi=120)


def main() -> None:
    given = asked_for(__doc__, SETTINGS)
    done = {line["setting"] for line in read_lines(LINES)}
    for setting in [] if given.table else [name for name in given.names or SETTINGS if name not in done]:
        run(setting, Console())
    if lines := read_lines(LINES):
        result = analysed(sorted(lines, key=lambda line: SETTINGS.index(line["setting"])))
        draw(result)
        write_up(FOLDER, result, table(result))


if __name__ == "__main__":
    main()
