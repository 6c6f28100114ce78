"""`policylearn diagnose`: is there a signal to learn from, and how much data does it take?

What `credit.reliability` measures, along the training from which will be learned: under the prior's masks, as rollouts
of the first round are; or under uniform masks, where credit itself is learned from such a one.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console

from policylearn.arms.arms import initial_policy
from policylearn.arms.policies import build_uniform
from policylearn.commands.opening import open_problem
from policylearn.config import Config, InnerConfig
from policylearn.credit.along import states, tell_of_repeats
from policylearn.credit.analysis import GOAL, Point, analyse, outlook, sums, verdict
from policylearn.credit.forecast import forecast
from policylearn.credit.reliability import Spelling, check_amount, measure
from policylearn.credit.sums import Sums
from policylearn.credit.variance import Shares, halves_needed
from policylearn.learning.windows import opens_window
from policylearn.models.device import device_here
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import scorer_of
from policylearn.problems.problem import Problem
from policylearn.report.printing import print_line
from policylearn.scores.credit import CREDIT

EXTREMES = 15


def diagnose(config: Config, console: Console) -> dict[str, Any]:
    """Measure the signal of a config's task.

    Returns:
        plain JSON: `reliability` (of word types, all data together) with its interval, controls, shares of variance,
        needs, token-level correlations, cosines, the words that help most and least, `outer_loss` of the states looked
        at, `forecast`, what masks by these credits would do, `training`, under what masks the model was trained
        meanwhile, `trainings`, how often, `verdict`, `outlook`.

    Raises:
        ValueError: bad input, with what to do; or so few batches that hardly a word can be masked often enough.
    """
    started, worked = time.monotonic(), time.process_time()
    problem = open_problem(config, console, device_here(config.cluster))
    problem.tell_of_precision()
    if problem.remark:
        print_line(console, problem.remark)
    uniform = build_uniform(problem)
    tell_of_repeats(problem)
    check_amount(problem, uniform)
    policy, under = trained_under(problem)
    points, spelling = measure(problem, policy, uniform)
    result = analyse(points, config) | {"training": under, "trainings": config.credit.trainings}
    shares = Shares(**result["shares"])
    result |= amounts(problem) | {"needs": needs(shares, problem), "forecast": forecast(points, shares, config)}
    result["words"] = extremes(points, config.diagnose.least, spelling, problem)
    result |= {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - worked}
    said = {"remark": problem.remark} if problem.remark else {}
    return {"name": config.name, **said, "verdict": verdict(result), **result, "outlook": outlook(result)}


def trained_under(problem: Problem) -> tuple[MaskingPolicy, str]:
    """The policy that the training is masked by, and its name: see above."""
    prior = problem.config.policy.prior
    if CREDIT in map(scorer_of, prior) or "expected" in problem.config.learn.stages:
        return build_uniform(problem), "uniform masks"
    return initial_policy(problem), f"masks of the prior ({' + '.join(prior) or 'uniform'})"


def amounts(problem: Problem) -> dict[str, Any]:
    """How much data was used, both halves together."""
    settings = problem.config.credit
    have = len(problem.examples("train"))
    return {"examples": min(have, settings.examples or have), "batches": 2 * settings.batches * states(problem.config)}


def needs(shares: Shares, problem: Problem) -> dict[str, Any]:
    """Labelled examples, and MLM batches, that would reach the goal: of one with the other as it is, and of both."""
    had = amounts(problem)
    half_of = {name: had[name] / 2 for name in ("examples", "batches")}
    both = halves_needed(shares, GOAL)
    batches = _whole(halves_needed(shares, GOAL, labels=2.0) * half_of["batches"])
    return {
        "goal": GOAL,
        "examples": _whole(halves_needed(shares, GOAL, text=2.0) * half_of["examples"]),
        "batches": batches,
        "rollouts": None if batches is None else -(-batches // batches_of_rollout(problem.config.inner)),
        "both": [_whole(both * half_of["examples"]), _whole(both * half_of["batches"])],
    }


def batches_of_rollout(config: InnerConfig) -> int:
    """MLM batches that one rollout credits: of `one_step` several per window, else one per step of a window.

    >>> batches_of_rollout(InnerConfig(steps=20, start=0.5, every=4, window=1, engine="one_step", credit_batches=16))
    48
    """
    windows = sum(opens_window(config, step) for step in range(config.steps))
    return max(1, windows * (config.credit_batches if config.engine == "one_step" else config.window))


def _whole(x: float) -> int | None:
    return int(np.ceil(x)) if np.isfinite(x) else None


def extremes(points: Sequence[Point], least: int, spelling: Spelling, problem: Problem) -> dict[str, list[str]]:
    """The words whose prediction helps most and least: mean credit of all cells, among words seen often enough. No word
    is in both lists: of few, the better half is said to help more than the others."""
    a, b = (Sums(s.keys, s.counts, s.totals[:, :2].mean(1, keepdims=True)) for s in (sums(points, 0), sums(points, 1)))
    both = a.add(b)
    often = np.flatnonzero(both.counts >= 2 * least)
    order = often[np.argsort(-both.means[often, 0])]
    names = [problem.name_of(spelling[int(both.keys[row])]) for row in order]
    return ends(names, EXTREMES)


def ends(ranked: list[str], most: int) -> dict[str, list[str]]:
    """The first and, from the last on, the last of a ranking; at most so many, and none in both.

    >>> ends(["a", "b", "c"], 15), ends(["a", "b", "c", "d", "e"], 1)
    ({'help': ['a'], 'hurt': ['c', 'b']}, {'help': ['a'], 'hurt': ['e']})
    """
    half = min(most, len(ranked) // 2)
    return {"help": ranked[:half], "hurt": ranked[::-1][: min(most, len(ranked) - half)]}
