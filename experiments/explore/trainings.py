"""Disjoint masks in one update, one an epoch, and random ones, at equal forward passes. Writes trials.jsonl."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from settings import DRAWS, FOLDER, MODELS, config_of

from policylearn.adapt.downstream import FrozenFeatures, score
from policylearn.arms.arms import arm_policy
from policylearn.evaluation.pretraining import held_out_loss, pretrain
from policylearn.evaluation.statistics import paired_difference
from policylearn.models.model import InnerModel
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.report.write_up import append_line, read_lines

LINES, SEEDS = FOLDER / "trials.jsonl", 10
RATE = 1 / DRAWS
RANDOM, SPAN = "random", "span"
TOGETHER = {"design": "explore", "draws": DRAWS, "copies": DRAWS}
ARMS: dict[str, dict[str, Any]] = {
    RANDOM: {},
    "disjoint, one an epoch": {"design": "explore", "draws": DRAWS},
    "six independent in an update": {"copies": DRAWS},
    "six disjoint in an update": TOGETHER,
    SPAN: {"unit": "span"},
    "span, disjoint, one an epoch": {"unit": "span", "design": "explore", "draws": DRAWS},
    "span, six disjoint in an update": {"unit": "span", **TOGETHER},
}
LENGTHS = {"continued": (80,), "from scratch": (170, 500, 1000)}
READ = ["domain.limit=1000"]
"""So few texts that a training comes back to them: twice in 170 steps, six times in 500, twelve times in 1,000. In 80
steps it does not, and masks that are disjoint from epoch to epoch are random ones to the last bit."""


def jobs() -> Iterator[tuple[str, int, int, str]]:
    """Model, steps, seed, arm: seed by seed."""
    for seed in range(SEEDS):
        for model in MODELS:
            for steps in LENGTHS[model]:
                yield from ((model, steps, seed, arm) for arm in ARMS if not left_out(model, arm))


def left_out(model: str, arm: str) -> bool:
    """What would be `random` again; and spans, from scratch, to spare time."""
    return arm.endswith("one an epoch") if model == "continued" else arm.startswith(SPAN)


def trained_under_random_masks(problem: Problem, model: InnerModel, steps: int) -> InnerModel:
    """A little way, for gradients that say something."""
    policy = arm_policy(problem, RANDOM)
    assert policy is not None
    pretrain(problem, model, policy, 0, steps)
    return model


def run_missing() -> None:
    """Every trial that is not there; may be stopped."""
    done = {(x["model"], x["steps"], x["seed"], x["arm"]) for x in read_lines(LINES)}
    problems = {model: problem_of(config_of(model, f"masking.rate={RATE}", *READ)) for model in MODELS}
    for model, steps, seed, arm in jobs():
        if (model, steps, seed, arm) not in done:
            line = {"model": model, "steps": steps, "seed": seed, "arm": arm}
            line |= run_one(problems[model], steps, seed, ARMS[arm])
            append_line(LINES, line)
            print(line, flush=True)


def run_one(problem: Problem, steps: int, seed: int, masking: dict[str, Any]) -> dict[str, Any]:
    """Dev by a probe of 200 labels, and the loss of uniform masks on texts that were not read."""
    started, model, random = time.time(), problem.fresh_model(seed), arm_policy(problem, RANDOM)
    assert random is not None
    training = pretrain(problem, model, random.under(**masking), seed, steps)
    dev = score(FrozenFeatures(problem, model), problem.config.evaluate.downstream, seed)["probe@200"].dev
    found = {"dev": dev, "held_out": held_out_loss(problem, model)}
    return found | {"masked": training.masked_tokens, "seconds": round(time.time() - started, 1)}


def tables() -> Iterator[str]:
    """A table for every model and length that has two seeds of all arms."""
    lines = read_lines(LINES)
    for model in MODELS:
        for steps in LENGTHS[model]:
            own = [x for x in lines if (x["model"], x["steps"]) == (model, steps)]
            arms = [arm for arm in ARMS if not left_out(model, arm)]
            seeds = set.intersection(*({x["seed"] for x in own if x["arm"] == arm} for arm in arms))
            if len(seeds) > 1:
                yield from _table(model, steps, arms, [x for x in own if x["seed"] in seeds], len(seeds))


def _table(model: str, steps: int, arms: list[str], lines: list[dict[str, Any]], seeds: int) -> Iterator[str]:
    yield from ("", f"**{model}, {steps:,} steps**, {seeds} seeds", "")
    yield "| masks | held-out loss | − random | dev, probe | − random | masked tokens |"
    yield "|---" * 6 + "|"
    by_arm = {arm: sorted((x for x in lines if x["arm"] == arm), key=lambda x: x["seed"]) for arm in arms}
    for arm, own in by_arm.items():
        base = by_arm[SPAN if arm.startswith(SPAN) else RANDOM]
        cells = [f"{np.mean([x['held_out'] for x in own]):.3f}", _gap(own, base, "held_out", 1, 3)]
        cells += [f"{100 * np.mean([x['dev'] for x in own]):.1f}", _gap(own, base, "dev", 100, 1)]
        yield f"| {arm} | {' | '.join(cells)} | {np.mean([x['masked'] for x in own]):,.0f} |"


def _gap(own: list[dict[str, Any]], base: list[dict[str, Any]], what: str, scale: float, digits: int) -> str:
    """Paired by seed; spans − span."""
    if own is base:
        return ""
    gap = paired_difference([scale * x[what] for x in own], [scale * x[what] for x in base])
    return f"{gap.mean:+.{digits}f} [{gap.low:.{digits}f}, {gap.high:.{digits}f}]"
