"""Does looking to the end of a training mend learning from scratch? Writes trials.jsonl, result.json and the table.

.venv/bin/python experiments/horizon/run.py             # what is missing; may be stopped. One thread, about 90 minutes
.venv/bin/python experiments/horizon/run.py --table     # the table, from what is there
"""

import time
from collections.abc import Callable
from functools import cache, partial
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.nn.functional import cosine_similarity

from policylearn.arms.arms import arm_policy, initial_policy
from policylearn.arms.policies import build_policy, scores_of
from policylearn.config import Config, PolicyConfig, load_config
from policylearn.evaluation.statistics import paired_difference
from policylearn.evaluation.validity import train_changed
from policylearn.learning.rollout import rollout
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.report.progress import TaskProgress
from policylearn.report.write_up import append_line, asked_for, read_lines, write_up

FOLDER = Path(__file__).parent
TRIALS, STEPS = FOLDER / "trials.jsonl", FOLDER / "steps.jsonl"
SEEDS = range(8)
FIRST_SEED, ROLLOUT_SEED = 9_000, 7_000
TASK, TOKENIZER = "../shared/data/tasks/trec6", "runs/real_tasks/scratch/trec6-tokenizer"
ROLLOUTS, LARGEST = 4, 2.0
"""Of a step along the gradient: rollouts that it is the mean of, and by how much the most changed logit moves."""
WHOLE = ["inner.engine=replay", "inner.window=599", "inner.every=600", "inner.start=0", "policy.network=table"]


def config_of(*more: str) -> Config:
    own = [f"task.path={TASK}", f"domain.path={TASK}/train.jsonl.gz", f"model.tokenizer={TOKENIZER}"]
    common = ["outer.support=400", "outer.query=400", "validity.draws=2", "masking.p_max=0.9", "policy.prior={}"]
    return load_config("experiments/real_tasks/small.toml", [*own, *common, *more])


@cache
def problem() -> Problem:
    return problem_of(config_of())


def expected_credit(horizon: str, strength: float) -> MaskingPolicy:
    """Expected credit of words at six states of each of three trainings."""
    return build_policy(_credited(horizon), PolicyConfig(prior={"credit": strength}, network="none"))


@cache
def _credited(horizon: str) -> Problem:
    amount = ["credit.trainings=3", "credit.points=6", "credit.batches=40"]
    found = problem_of(config_of(f"credit.horizon={horizon}", *amount), data=problem().data())
    scores_of(found, ["credit"])
    return found


@cache
def gradient_step(estimator: str) -> MaskingPolicy:
    """A step from uniform masks down the gradient of the outer loss at the end, through all but the first step of whole
    trainings."""
    own = problem_of(config_of(*WHOLE, "learn.kl=0", f"learn.estimator={estimator}"), data=problem().data())
    policy = initial_policy(own)
    seeds = range(ROLLOUT_SEED, ROLLOUT_SEED + ROLLOUTS)
    each = torch.stack([rollout(own, policy, seed).gradient["network.logits"] for seed in seeds])
    moved = -LARGEST * each.sum(0) / each.sum(0).abs().max()
    tokens = problem().tokenizer.convert_ids_to_tokens(most := moved.abs().topk(5).indices.tolist())
    append_line(
        STEPS,
        {
            "estimator": estimator,
            "cosines": [float(cosine_similarity(a, b, dim=0)) for a, b in combinations(each, 2)],
            "moved": dict(zip(tokens, moved[most].tolist(), strict=True)),
            "what": float(moved[problem().tokenizer.convert_tokens_to_ids("what")]),
        },
    )
    policy.load_learned({"network.logits": moved})
    return policy


def heuristic(arm: str) -> Any:
    return arm_policy(problem(), arm)


ARMS: dict[str, Callable[[], Any]] = {
    **{arm: partial(heuristic, arm) for arm in ("random", "difference", "saliency")},
    **{
        f"expected credit for the {said}, strength {strength:g}": partial(expected_credit, horizon, strength)
        for (horizon, said), strength in product({"step": "next step", "end": "end"}.items(), (2.0, 4.0))
    },
    **{
        f"whole-run gradient, {estimator}, 1 step": partial(gradient_step, estimator)
        for estimator in ("credit", "relaxed")
    },
}


def kept() -> dict[tuple[str, int], dict[str, Any]]:
    return {(line["arm"], line["seed"]): line for line in read_lines(TRIALS)}


def run(console: Console) -> None:
    torch.set_num_threads(1)
    known, wanted = kept(), [(arm, seed) for arm in ARMS for seed in SEEDS]
    with TaskProgress("trainings", len(wanted), console, len(known.keys() & set(wanted))) as progress:
        for arm, seed in wanted:
            if (arm, seed) not in known:
                started, policy = time.monotonic(), ARMS[arm]()
                found = train_changed(problem(), policy, policy.learned(), FIRST_SEED + seed)
                line = {"arm": arm, "seed": seed, "loss": found.loss, "dev": found.score}
                append_line(TRIALS, line | {"seconds": round(time.monotonic() - started, 1)})
                progress.advance()


def compared() -> list[dict[str, Any]]:
    """Every arm against random masks, on the seeds that both have."""
    known, rows = kept(), []
    for arm in ARMS:
        seeds = [seed for seed in SEEDS if (arm, seed) in known and ("random", seed) in known]
        if not seeds:
            continue
        own, other = ([known[name, seed] for seed in seeds] for name in (arm, "random"))
        found = {
            what: vars(paired_difference([x[what] for x in own], [x[what] for x in other])) for what in ("dev", "loss")
        }
        rows.append({"arm": arm, "seeds": len(seeds), "dev": float(np.mean([x["dev"] for x in own])), "than": found})
    return rows


def table(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| masks | seeds | dev accuracy | − random | outer loss, − random |", "|---|---|---|---|---|"]
    for row in rows:
        points, loss = (_interval(row["than"][what], *unit) for what, unit in UNITS.items())
        if row["arm"] == "random":
            points = loss = ""
        lines.append(f"| {row['arm']} | {row['seeds']} | {100 * row['dev']:.1f} | {points} | {loss} |")
    steps = read_lines(STEPS)
    for step in steps:
        moved = ", ".join(f"{token} {by:+.1f}" for token, by in step["moved"].items())
        cosines = ", ".join(f"{cosine:.2f}" for cosine in step["cosines"])
        found = f"cosines between trainings {cosines}; moved most: {moved}; what {step['what']:+.1f}."
        lines += ["", f"Whole-run gradient, {step['estimator']}: {found}"]
    return lines


UNITS = {"dev": (100, 1), "loss": (1, 3)}


def _interval(found: dict[str, Any], factor: float, digits: int) -> str:
    mean, low, high = (factor * (found[name] or 0) for name in ("mean", "low", "high"))
    return f"{mean:+.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main() -> None:
    if not asked_for(__doc__).table:
        run(Console())
    rows = compared()
    write_up(FOLDER, {"arms": rows}, table(rows))


if __name__ == "__main__":
    main()
