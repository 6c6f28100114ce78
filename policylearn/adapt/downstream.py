"""The task on a trained encoder: dev selects, test is read once, when nothing is left to choose."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from policylearn.adapt.chosen import Chosen, FrozenFeatures
from policylearn.config import parts_of
from policylearn.problems.problem import Problem
from policylearn.registry.known import ADAPTATIONS
from policylearn.registry.registry import check_has
from policylearn.tasks.kind import finite_score
from policylearn.weight_masks.selection import maskable

MASKS = "weight_mask"


@dataclass(frozen=True)
class SplitScores:
    """Scores of a classifier, or means of several: on dev, on test, and on further test splits by name."""

    dev: float
    test: float
    extra: dict[str, float]


def score(features: FrozenFeatures, methods: Sequence[str], seed: int) -> dict[str, SplitScores]:
    """Adapt a model to the label task in several ways and score each, averaged over labelled subsets; the model stays
    as it is.

    Args:
        features: of the encoder, with the task.
        methods: entries of `evaluate.downstream`.
        seed: of the labelled subsets and of fine-tuning.
    """
    return {method: _mean_score(features, method, seed) for method in methods}


def _mean_score(features: FrozenFeatures, method: str, seed: int) -> SplitScores:
    problem, (adapt, labelled) = features.problem, parts_of(method)
    picks = subsets(problem, seed, labelled)
    parts = [score_chosen(problem, adapt, ADAPTATIONS.get(adapt).fit(features, picked, seed)) for picked in picks]
    extra = {name: float(np.mean([part.extra[name] for part in parts])) for name in parts[0].extra}
    return SplitScores(float(np.mean([p.dev for p in parts])), float(np.mean([p.test for p in parts])), extra)


def subsets(problem: Problem, seed: int, labelled: int | None = None) -> Iterator[np.ndarray]:
    """Which training examples have their labels: all, or `evaluate.subsets` draws of so many of them; None: as
    `evaluate.labelled` says."""
    examples, config = len(problem.labelled("train")), problem.config.evaluate
    labelled = labelled or config.labelled
    if labelled is None:
        yield np.arange(examples)
        return
    for number in range(config.subsets):
        yield np.random.default_rng([seed, number] if number else seed).permutation(examples)[:labelled]


def check_layers(problem: Problem) -> None:
    """See that the model has the layers whose weights are to be masked, before it is trained to have that done to it.
    ValueError: it has fewer."""
    outer, evaluate = problem.config.outer, problem.config.evaluate
    tuned = bool(evaluate.seeds) and MASKS in {parts_of(method)[0] for method in evaluate.downstream}
    learned = outer.adaptation == MASKS and problem.config.has_rounds
    for first in [evaluate.weight_mask.first_layer] * tuned + [outer.first_layer] * learned:
        maskable(problem.fresh_model(0), first)


def score_chosen(problem: Problem, adapt: str, chosen: Chosen) -> SplitScores:
    """What dev has chosen, on the test splits. ValueError: a score of the adaptation is no finite number."""
    check_has(f"what the adaptation {adapt!r} has fitted", chosen, ("dev", "score"))
    checked = partial(finite_score, f"adaptation {adapt!r}")
    tests = {name: checked(chosen.score(split)) for name, split in problem.tests().items()}
    return SplitScores(checked(chosen.dev), tests.pop("test"), tests)
