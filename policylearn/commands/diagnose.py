"""`policylearn diagnose`: is there a signal to learn from, and how much data does it take?

Labelled examples and texts are cut into halves A and B that share nothing. At several points of a trajectory, the outer
gradients of A and of B are turned into credits of masked tokens of A and of B: four cells. Their masks are uniform, so
that every word gets its credit. The trajectory is that from which will be learned: under the prior's masks, as rollouts
of the first round are; or under uniform masks, where the prior itself is measured on such a one, by `credit`.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console

from policylearn.adapt.probe import ProbeLoss
from policylearn.arms.arms import RANDOM, arm_policy, initial_policy
from policylearn.config import Config, InnerConfig
from policylearn.credit.analysis import GOAL, MADE_UP, SHUFFLED, A, B, Point, analyse, check_types, sums, verdict
from policylearn.credit.credits import (
    Gradients,
    Tokens,
    credits_of,
    group_cosines,
    masked_texts,
    outer_gradients,
    preconditioned,
    take,
    through,
    train_to,
)
from policylearn.credit.halves import labelled_halves, text_halves
from policylearn.credit.labels import cross_fitted, made_up, shuffled
from policylearn.credit.points import SEED, steps
from policylearn.credit.sums import TypeSums, add, common_types, type_sums
from policylearn.credit.variance import Shares, halves_needed
from policylearn.credit.words import keys_of, spell
from policylearn.inner.trajectory import Trajectory
from policylearn.learning.rollout import opens_window
from policylearn.masking import MaskedBatch
from policylearn.messages.watch import At, Watch
from policylearn.models.device import device_here
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import scorer_of
from policylearn.problem import Problem
from policylearn.report.console import print_line, teller
from policylearn.report.console_watch import ConsoleWatch

CREDIT = "credit"
"""The scorer that measures what is measured here."""
TWIN_SHARE = 4
"""One batch in so many is masked a second time, to compare the same tokens under two masks."""
EXTREMES = 15


def diagnose(config: Config, console: Console) -> dict[str, Any]:
    """Measure the signal of a config's task.

    Returns:
        plain JSON: `reliability` (of word types, all data together) with its interval, controls, shares of variance,
        needs, token-level correlations, cosines, the words that help most and least, `training`, under what masks the
        model was trained meanwhile, `verdict`.

    Raises:
        ValueError: bad input, with what to do; or so few batches that hardly a word can be masked often enough.
    """
    started, worked = time.monotonic(), time.process_time()
    problem = Problem(config, ConsoleWatch(console), device=device_here(config.cluster), tell=teller(console))
    if problem.remark:
        print_line(console, problem.remark)
    check_amount(problem)
    policy, under = trained_under(problem)
    points, spelling = measure(problem, policy)
    result = analyse(points, config.diagnose) | {"training": under}
    result |= amounts(problem) | {"needs": needs(Shares(**result["shares"]), problem)}
    result["words"] = extremes(points, config.diagnose.least, spelling, problem)
    result |= {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - worked}
    said = {"remark": problem.remark} if problem.remark else {}
    return {"name": config.name, **said, "verdict": verdict(result), **result}


def trained_under(problem: Problem) -> tuple[MaskingPolicy, str]:
    """The policy that the trajectory is masked by, and its name: see above."""
    prior = problem.config.policy.prior
    if CREDIT not in map(scorer_of, prior):
        return initial_policy(problem), f"masks of the prior ({' + '.join(prior) or 'uniform'})"
    uniform = arm_policy(problem, RANDOM)
    assert uniform is not None
    return uniform, "uniform masks"


def check_amount(problem: Problem) -> None:
    """Refuse a measurement that could not be analysed, before it is made: masks are drawn as they will be, of which it
    takes a moment to see how often every word is masked.

    Raises:
        ValueError: too few words are masked often enough in both halves.
    """
    config, policy = problem.config, arm_policy(problem, RANDOM)
    assert policy is not None
    found = []
    for rows in text_halves(problem, SEED):
        if not len(rows):
            raise ValueError("domain.path holds too few texts to be cut into halves: give it more")
        points = (
            take(masked_texts(problem, policy, rows, number), config.diagnose.batches)
            for number in range(config.diagnose.points)
        )
        keys = np.concatenate([keys_of(policy, batch) for batches in points for batch in batches])
        found.append(type_sums(keys, np.zeros(len(keys))))
    a, b = found
    check_types(len(common_types(a, b, config.diagnose.least)[0]), config.diagnose)


def outer_losses(problem: Problem) -> dict[str, ProbeLoss]:
    """The outer losses of A and B, and of B with labels that have nothing to do with the task."""
    settings = problem.config.diagnose
    y, (a, b) = problem.examples("train").y, labelled_halves(problem, settings.examples, SEED)
    labels = {A: (a, y[a]), B: (b, y[b])}
    labels |= {f"{SHUFFLED} {i + 1}": (b, shuffled(y[b], SEED + i)) for i in range(settings.shuffles)}
    if settings.shuffles:
        labels[MADE_UP] = (b, made_up(problem, b, y[b], SEED))
    return {
        name: cross_fitted(problem, picked, given, settings.folds, settings.resplits, SEED)
        for name, (picked, given) in labels.items()
    }


def measure(problem: Problem, policy: MaskingPolicy) -> tuple[list[Point], dict[int, tuple[int, ...]]]:
    """Go along the trajectory that `policy` masks and measure at every point; with the token ids of the words met."""
    losses, rows = outer_losses(problem), text_halves(problem, SEED)
    trajectory, points = Trajectory.start(problem, policy, SEED), []
    spelling: dict[int, tuple[int, ...]] = {}
    for number, step in enumerate(steps(problem.config)):
        watch = At(problem.watch, f"diagnosing, point {number + 1} of {problem.config.diagnose.points}")
        train_to(trajectory, step, watch)
        raw = outer_gradients(trajectory.model, losses, watch)
        points.append(measure_point(trajectory, raw, rows, number, spelling, watch))
    return points, spelling


def measure_point(
    trajectory: Trajectory,
    raw: dict[str, Gradients],
    rows: tuple[np.ndarray, np.ndarray],
    number: int,
    spelling: dict[int, tuple[int, ...]],
    watch: Watch,
) -> Point:
    """Credits of both text halves under the given outer gradients."""
    config, policy = trajectory.problem.config, arm_policy(trajectory.problem, RANDOM)
    assert policy is not None
    ready = {name: preconditioned(trajectory, gradients) for name, gradients in raw.items()}
    directions = {name: through(trajectory.model, d, config.outer.parameters) for name, d in ready.items()}
    found, twins = [], np.zeros((0, 2))
    for half, names in enumerate(([A, B], list(directions))):
        batches = take(masked_texts(trajectory.problem, policy, rows[half], number), config.diagnose.batches)
        for batch in batches:
            spelling |= spell(policy, batch)
        watched = watch(f"batches of masked texts, half {half + 1} of 2", batches)
        parts = list(credits_of(trajectory, watched, [directions[n] for n in names]))
        found.append(joined(parts))
        if half == 0:
            again = take(masked_texts(trajectory.problem, policy, rows[half], number, epoch=1), len(batches))
            twins = twin_credits(trajectory, batches, again, parts, directions[B])
    cosines = {
        "raw": group_cosines(trajectory.model, raw[A], raw[B]),
        "preconditioned": group_cosines(trajectory.model, ready[A], ready[B]),
    }
    return Point(trajectory.step, list(directions), (found[0], found[1]), twins, cosines)


def joined(parts: Sequence[Tokens]) -> Tokens:
    """Tokens of several batches as those of one."""
    return Tokens(np.concatenate([p.keys for p in parts]), np.concatenate([p.credits for p in parts]))


def twin_credits(
    trajectory: Trajectory,
    batches: Sequence[MaskedBatch],
    again: Sequence[MaskedBatch],
    parts: Sequence[Tokens],
    direction: Gradients,
) -> np.ndarray:
    """[N, 2] credits of tokens that both masks of a text chose: the first under A, the second under `direction`."""
    picked = range(0, len(batches), TWIN_SHARE)
    pairs = []
    for i, tokens in zip(picked, credits_of(trajectory, [again[i] for i in picked], [direction]), strict=True):
        one, two = batches[i], again[i]
        both = one.mask & two.mask
        pairs.append(
            np.stack([parts[i].credits[both[one.mask].numpy(), 0], tokens.credits[both[two.mask].numpy(), 0]], 1)
        )
    return np.concatenate(pairs)


def amounts(problem: Problem) -> dict[str, Any]:
    """How much data was used, both halves together."""
    settings = problem.config.diagnose
    have = len(problem.examples("train"))
    return {"examples": min(have, settings.examples or have), "batches": 2 * settings.batches * settings.points}


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


def extremes(
    points: Sequence[Point], least: int, spelling: dict[int, tuple[int, ...]], problem: Problem
) -> dict[str, list[str]]:
    """The words whose prediction helps most and least: mean credit of all cells, among words seen often enough. No word
    is in both lists: of few, the better half is said to help more than the others."""
    both = add(
        [TypeSums(s.keys, s.counts, s.totals[:, :2].mean(1, keepdims=True)) for s in (sums(points, 0), sums(points, 1))]
    )
    often = np.flatnonzero(both.counts >= 2 * least)
    order = often[np.argsort(-both.means[often, 0])]
    names = [str(problem.tokenizer.decode(list(spelling[int(both.keys[row])]))) for row in order]
    return ends(names, EXTREMES)


def ends(ranked: list[str], most: int) -> dict[str, list[str]]:
    """The first and, from the last on, the last of a ranking; at most so many, and none in both.

    >>> ends(["a", "b", "c"], 15), ends(["a", "b", "c", "d", "e"], 1)
    ({'help': ['a'], 'hurt': ['c', 'b']}, {'help': ['a'], 'hurt': ['e']})
    """
    half = min(most, len(ranked) // 2)
    return {"help": ranked[:half], "hurt": ranked[::-1][: min(most, len(ranked) - half)]}
