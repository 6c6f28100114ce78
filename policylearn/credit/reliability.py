"""Credits of two halves of everything, which share nothing: labelled examples and texts, A and B.

At several points of a training, the outer gradients of A and of B are turned into credits of masked tokens of A and of
B: four cells. Their masks are uniform, so that every word gets its credit.
"""

from collections.abc import Sequence

import numpy as np
import torch

from policylearn.adapt.probe import ProbeLoss
from policylearn.credit.along import SEED, Viewpoint, credits_along, states
from policylearn.credit.analysis import MADE_UP, SHUFFLED, A, B, Point, check_types
from policylearn.credit.credits import Tokens, group_cosines, joined, masked_texts, take
from policylearn.credit.halves import labelled_halves, text_halves
from policylearn.credit.labels import cross_fitted, made_up, shuffled
from policylearn.credit.sums import Sums, common_words
from policylearn.credit.words import keys_of, share_in_long_words, spell
from policylearn.inner.seeds import MASK_SEED
from policylearn.masking import MaskedBatch
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem

TWIN_SHARE = 4
"""One batch in so many is masked a second time, to compare the same tokens under two masks."""
UNEVEN = 0.25
"""Share of all below which the smaller half is said to be small."""
Spelling = dict[int, tuple[int, ...]]
"""Token ids of words by key."""


def check_amount(problem: Problem, uniform: MaskingPolicy) -> None:
    """Refuse a measurement that could not be analysed, before it is made: masks are drawn as they will be, of which it
    takes a moment to see how often every word is masked.

    Raises:
        ValueError: there is nothing in a half, or too few words are masked often enough in both.
    """
    config, found, in_long = problem.config, [], []
    halves = text_halves(problem, SEED)
    _check_halves(problem, "domain", *halves)
    _check_halves(problem, "task", *labelled_halves(problem, config.credit.examples, SEED))
    for rows in halves:
        points = (
            take(masked_texts(problem, uniform, rows, MASK_SEED + number), config.credit.batches)
            for number in range(states(config))
        )
        batches = [batch for batches in points for batch in batches]
        keys = np.concatenate([keys_of(uniform, batch) for batch in batches])
        found.append(Sums.of(keys, np.zeros(len(keys))))
        in_long.append(np.mean([share_in_long_words(uniform, batch) for batch in batches]))
    a, b = found
    check_types(len(common_words(a, b, config.diagnose.least)[0]), config, float(np.mean(in_long)))


def _check_halves(problem: Problem, part: str, a: np.ndarray, b: np.ndarray) -> None:
    """Refuse an empty half, and tell of one much smaller than the other, with which it will hardly agree."""
    if not min(len(a), len(b)):
        few = f"{len(a) + len(b):,} {problem.called}"
        raise ValueError(f"{part}.path: {few}, too few for two halves or all of the same content: give it others")
    if min(len(a), len(b)) < UNEVEN * (len(a) + len(b)):
        why = f"for {problem.called} of the same content stay together"
        problem.tell(f"{part}  halves of {len(a):,} and {len(b):,}, {why}: credits of the two agree the less")


def outer_losses(problem: Problem) -> dict[str, ProbeLoss]:
    """The outer losses of A and B, and of B with labels that have nothing to do with the task."""
    settings, shuffles = problem.config.credit, problem.config.diagnose.shuffles
    train, (a, b) = problem.examples("train"), labelled_halves(problem, settings.examples, SEED)
    of_a, of_b = (train.y[train.targets_of(half)] for half in (a, b))
    labels = {A: (a, of_a), B: (b, of_b)}
    labels |= {f"{SHUFFLED} {i + 1}": (b, shuffled(of_b, SEED + i)) for i in range(shuffles)}
    if shuffles:
        labels[MADE_UP] = (b, made_up(problem, b, of_b, SEED))
    return {
        name: cross_fitted(problem, picked, given, settings.folds, settings.resplits, SEED)
        for name, (picked, given) in labels.items()
    }


def measure(problem: Problem, policy: MaskingPolicy, uniform: MaskingPolicy) -> tuple[list[Point], Spelling]:
    """Go along the training that `policy` masks and measure at every point, on texts that `uniform` masks; with the
    token ids of the words met."""
    rows, spelling, points = text_halves(problem, SEED), Spelling(), list[Point]()
    for viewpoint in credits_along(problem, policy, outer_losses(problem), "diagnosing"):
        points.append(measure_point(viewpoint, uniform, rows, len(points), spelling))
    return points, spelling


def measure_point(
    viewpoint: Viewpoint, uniform: MaskingPolicy, rows: tuple[np.ndarray, np.ndarray], number: int, spelling: Spelling
) -> Point:
    """Credits of both text halves at one point; `spelling` learns the words met."""
    problem, names = viewpoint.trajectory.problem, list(viewpoint.losses)
    found, twins = [], np.zeros((0, 2))
    for half, wanted in enumerate(([A, B], names)):
        batches = take(masked_texts(problem, uniform, rows[half], MASK_SEED + number), problem.config.credit.batches)
        for batch in batches:
            spelling |= spell(uniform, batch)
        watched = viewpoint.watch(f"batches of masked texts, half {half + 1} of 2", batches)
        parts = list(viewpoint.credits(watched, wanted))
        found.append(joined(parts))
        if half == 0:
            again = take(masked_texts(problem, uniform, rows[half], MASK_SEED + number, epoch=1), len(batches))
            twins = twin_credits(viewpoint, batches, again, parts)
    model = viewpoint.trajectory.model
    kinds = {"raw": viewpoint.gradients, "preconditioned": viewpoint.preconditioned}
    cosines = {kind: group_cosines(model, by_name[A], by_name[B]) for kind, by_name in kinds.items()}
    tokens = found[0], found[1]
    with torch.no_grad():
        loss = viewpoint.losses[A](model).item()
    return Point(viewpoint.trajectory.step, names, tokens, twins, cosines, viewpoint.training, loss)


def twin_credits(
    viewpoint: Viewpoint, batches: Sequence[MaskedBatch], again: Sequence[MaskedBatch], parts: Sequence[Tokens]
) -> np.ndarray:
    """[N, 2] credits of tokens that both masks of a text chose: the first under labels A, the second under B."""
    picked = range(0, len(batches), TWIN_SHARE)
    pairs = []
    for i, tokens in zip(picked, viewpoint.credits([again[i] for i in picked], [B]), strict=True):
        both = batches[i].mask & again[i].mask
        first, second = (x.credits[both[y.mask].numpy(), 0] for x, y in ((parts[i], batches[i]), (tokens, again[i])))
        pairs.append(np.stack([first, second], 1))
    return np.concatenate(pairs)
