"""Part two of the study: one thing changed at a time against the default, on TREC-6; equally many masked texts for all.

Every variant says what direction θ should be moved in at some states of the model, d = -∂(outer loss)/∂g for the
gradient g of the next step, once for either half of the labelled examples; credits are d · ∇CE, as everywhere.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tasks import OWN_TEXTS, SMALL, config_of, numbers

from policylearn.adapt import finetune
from policylearn.adapt.probe import ProbeLoss
from policylearn.arms.arms import RANDOM, arm_policy, initial_policy
from policylearn.credit.along import SEED, steps
from policylearn.credit.analysis import A, B, Point
from policylearn.credit.credits import NamedGradients, credits_of, joined, masked_texts, take, through
from policylearn.credit.halves import text_halves
from policylearn.credit.reliability import outer_losses
from policylearn.inner.trajectory import Trajectory
from policylearn.inner.window import Window
from policylearn.masking import MaskedBatch
from policylearn.metagrad.engines import Outer
from policylearn.metagrad.one_step import outer_direction
from policylearn.metagrad.replay import Replay
from policylearn.metagrad.updates import Gradients
from policylearn.problems.texts import TextProblem

SETTINGS = (*SMALL, OWN_TEXTS.format("trec6"), "inner.batch_size=64", "diagnose.shuffles=0", "credit.points=1")
BATCHES = 18
"""MLM batches of each text half, all states together."""
Losses = Mapping[str, ProbeLoss]
Directions = Callable[[Trajectory, Losses], dict[str, NamedGradients]]


def by_probe(trajectory: Trajectory, losses: Losses) -> dict[str, NamedGradients]:
    """The default: AdamW's preconditioner on the gradient of the loss in the matrices of the layers."""
    return {name: one_step_direction(trajectory, loss) for name, loss in losses.items()}


def one_step_direction(trajectory: Trajectory, outer: Outer) -> NamedGradients:
    return outer_direction(trajectory.model, trajectory.optimizer, trajectory.rate, outer, "layers")


def by_one_split(trajectory: Trajectory, losses: Losses) -> dict[str, NamedGradients]:
    """Half of the examples are support, the others query."""
    return by_probe(trajectory, {name: split_once(loss) for name, loss in losses.items()})


def split_once(loss: ProbeLoss) -> ProbeLoss:
    middle = len(loss.picked) // 2
    support, query = np.split(np.random.default_rng(SEED).permutation(len(loss.picked)), [middle])
    return ProbeLoss(loss.problem, loss.picked, loss.y, [(support, query)])


def by_fine_tuning(trajectory: Trajectory, losses: Losses) -> dict[str, NamedGradients]:
    """Once for every fold of the first deal, as many steps as the config says; their mean."""
    return {name: mean([tuned(trajectory, loss, *s) for s in loss.splits[:4]]) for name, loss in losses.items()}


def tuned(trajectory: Trajectory, loss: ProbeLoss, support: np.ndarray, query: np.ndarray) -> NamedGradients:
    outer = finetune.outer_loss(loss.problem, loss.picked[support], loss.picked[query], [0], trajectory.note)
    return one_step_direction(trajectory, outer)


def mean(found: list[NamedGradients]) -> NamedGradients:
    return {name: torch.stack([gradients[name] for gradients in found]).mean(0) for name in found[0]}


class FirstStep(Replay):
    """Walks back over a window as `replay` does, and keeps ∂(outer loss)/∂g of its first step."""

    def back_over_gradient(self, k: int, directions: Gradients, further: bool) -> torch.Tensor:
        if k > 0:
            return super().back_over_gradient(k, directions, further)
        self.first = {name: -u for name, u in zip(self.names, directions, strict=True) if u is not None}
        return self.inputs(k)


def by_window(length: int, parameters: str = "all") -> Directions:
    """Through a window of so many ordinary steps: what is credited could have been the batch of the first.

    Args:
        length: of the window.
        parameters: through which the first step counts; after the window it is always the layers.
    """

    def directions(trajectory: Trajectory, losses: Losses) -> dict[str, NamedGradients]:
        window = Window(take(trajectory.batches, length), [trajectory.rate] * length, trajectory.objective)
        found = {name: first_step(trajectory, window, loss) for name, loss in losses.items()}
        return {name: through(trajectory.model, d, parameters) for name, d in found.items()}

    return directions


def first_step(trajectory: Trajectory, window: Window, outer: Outer) -> NamedGradients:
    model, optimizer = copy.deepcopy((trajectory.model, trajectory.optimizer))
    walk = FirstStep(model, optimizer, window, outer, "layers")
    walk.run()
    return walk.first


@dataclass(frozen=True)
class Variant:
    """How it differs from the default.

    Attributes:
        overrides: of the config.
        masks: of the config that the credited texts are masked by.
        directions: of the outer losses of A and B at a state of the model.
    """

    overrides: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    directions: Directions = by_probe


VARIANTS = {
    "default": Variant(),
    "one support/query split": Variant(directions=by_one_split),
    "dealt into folds once": Variant(("credit.resplits=1",)),
    "fine-tuning, 4 steps": Variant(directions=by_fine_tuning),
    "200 labelled examples": Variant(("credit.examples=200",)),
    "400 labelled examples": Variant(("credit.examples=400",)),
    "1600 labelled examples": Variant(("credit.examples=1600",)),
    "explore": Variant(masks=('masking.design="explore"',)),
    "2 states of the model": Variant(("credit.points=2",)),
    "3 states of the model": Variant(("credit.points=3",)),
    "window of 1": Variant(directions=by_window(1)),
    "window of 4": Variant(directions=by_window(4)),
    "window of 8": Variant(directions=by_window(8)),
    "window of 4, layers alone": Variant(directions=by_window(4, "layers")),
    "window of 8, layers alone": Variant(directions=by_window(8, "layers")),
}


def vary(name: str) -> dict[str, Any]:
    """The record of one variant."""
    variant = VARIANTS[name]
    problem = TextProblem(config_of("trec6", *SETTINGS, *variant.overrides))
    points = measured(problem, TextProblem(config_of("trec6", *SETTINGS, *variant.masks)), variant.directions)
    return {"variant": name, **numbers(points, problem), "batches": 2 * BATCHES}


def credited_texts(problem: TextProblem) -> list[list[MaskedBatch]]:
    """Of either half of the texts, short ones together: padding costs as much as words."""
    policy, size = arm_policy(problem, RANDOM), problem.config.inner.batch_size
    assert policy is not None
    draws = policy.masking.draws if policy.masking.design == "explore" else 1
    found = []
    for rows in text_halves(problem, SEED):
        few = sorted(rows[: BATCHES // draws * size], key=lambda row: len(problem.domain[row]))
        batches = take(masked_texts(problem, policy, np.array(few), SEED), BATCHES)
        found.append([batches[i] for i in np.random.default_rng(SEED).permutation(BATCHES)])
    return found


def measured(problem: TextProblem, masks: TextProblem, directions: Directions) -> list[Point]:
    """Credits at the states that diagnose would measure at; the masked texts are divided among them."""
    texts, losses, states = credited_texts(masks), outer_losses(problem), steps(problem.config)
    trajectory, points = Trajectory.start(problem, initial_policy(problem), SEED), []
    for number, step in enumerate(states):
        while trajectory.step < step:
            trajectory.take_step(next(trajectory.batches))
        found = directions(trajectory, losses)
        first, second = (
            joined(list(credits_of(trajectory, half[number :: len(states)], [found[A], found[B]]))) for half in texts
        )
        points.append(Point(step, [A, B], (first, second), np.zeros((0, 2)), {}))
    return points
