"""Credits of the domain's tokens under all labels at once: what `diagnose` measures by halves, to learn from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policylearn.adapt.probe import ProbeLoss
from policylearn.config import Config
from policylearn.credit.along import SEED, Viewpoint, credits_along, states, steps, tell_of_repeats
from policylearn.credit.credits import GROUP, masked_texts, take
from policylearn.credit.labels import cross_fitted
from policylearn.credit.outer import features_of, pulled_back
from policylearn.credit.sums import advantage
from policylearn.inner.seeds import MASK_SEED
from policylearn.masking import MaskedBatch
from policylearn.models.parameters import carriers
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.report.formats import plural

ALL = "all"


@dataclass(frozen=True)
class Credited:
    """Texts with masked tokens, and what predicting those was worth; arrays, to go between processes.

    Attributes:
        ids: [B, T], the types of their places.
        real: [B, T] boolean, not padding.
        mask: [B, T] boolean, the M masked tokens.
        credits: [M] float64.
    """

    ids: np.ndarray
    real: np.ndarray
    mask: np.ndarray
    credits: np.ndarray


def labelled_loss(problem: Problem) -> ProbeLoss:
    """The outer loss of the labelled examples, each of which is query once and support in other folds."""
    settings, train = problem.config.credit, problem.examples("train")
    picked = np.random.default_rng(SEED).permutation(len(train))[: settings.examples]
    y = train.y[train.targets_of(picked)]
    return cross_fitted(problem, picked, y, settings.folds, settings.resplits, SEED)


class DomainCredits:
    """Trainings along which tokens of the domain are credited under the outer gradient of the labelled examples. They
    do not go back: points are asked for in ascending order.

    Args:
        problem: `config.credit` names points, batches, examples and folds.
        policy: of uniform masks, under which every word gets its credit.
        under: what the trainings are masked by; None: as well by uniform masks.
    """

    def __init__(self, problem: Problem, policy: MaskingPolicy, under: MaskingPolicy | None = None) -> None:
        rng = np.random.default_rng(SEED)
        rng.permutation(len(problem.examples("train")))  # the labelled examples come first
        self.loss, self._rows = labelled_loss(problem), rng.permutation(len(problem.domain))
        self._problem, self._policy, self._wanted = problem, policy, problem.config.outer.parameters
        self._points = enumerate(credits_along(problem, under or policy, {ALL: self.loss}, wanted=self._wanted))
        self.number, self._viewpoint = -1, None

    number: int
    """Of the point that the trainings are at, from 0 on through all of them."""
    _viewpoint: Viewpoint | None

    def at(self, number: int) -> Viewpoint:
        """Go on to a point."""
        assert number >= self.number, "the training is past that point"
        while self.number < number:
            self.number, self._viewpoint = next(self._points)
        assert self._viewpoint is not None
        return self._viewpoint

    def features(self, number: int, part: np.ndarray) -> np.ndarray:
        """Of a part of the labelled examples at a point, see `credit.outer`."""
        return features_of(self.at(number).trajectory.model, self.loss, part).cpu().numpy()

    def gradient(self, number: int, part: np.ndarray, slope: np.ndarray) -> dict[str, np.ndarray]:
        """What a part adds to the outer gradient at a point, in the parameters it may flow through."""
        model = self.at(number).trajectory.model
        names = carriers(model, self._wanted)
        (found,) = pulled_back(model, self.loss, part, [torch.tensor(slope)], names)
        return {name: gradient.cpu().numpy() for name, gradient in found.items()}

    def credit(
        self, number: int, first: int, last: int, gradient: Mapping[str, np.ndarray] | None = None
    ) -> list[Credited]:
        """Batches `first` to `last` of those that are credited at a point, of which there are `batches_of_point`;
        `first` is a multiple of `GROUP`. They are the same, to the last bit, whatever was asked for before.

        `gradient` is the outer gradient there, all parts added up in their order; None: it is yet to be computed.
        """
        assert first % GROUP == 0, "batches that are credited together would come apart"
        viewpoint = self.at(number)
        if gradient is not None and "gradients" not in vars(viewpoint):
            there = next(viewpoint.trajectory.model.parameters())
            viewpoint.gradients = {ALL: {name: torch.tensor(g).to(there) for name, g in gradient.items()}}
        before = number * batches_of_point(self._problem.config) + first
        texts = take(masked_texts(self._problem, self._policy, self._rows, MASK_SEED, first=before), last - first)
        found = viewpoint.credits(viewpoint.watch("batches of masked texts", texts), [ALL])
        return [
            Credited(self._types(batch), batch.real.numpy(), batch.mask.numpy(), tokens.credits[:, 0])
            for batch, tokens in zip(texts, found, strict=True)
        ]

    def _types(self, batch: MaskedBatch) -> np.ndarray:
        return self._policy.field.types(batch.original).numpy()


def batches_of_point(config: Config) -> int:
    """How many MLM batches are credited at a point: as many as `diagnose` looks at in both halves together."""
    return 2 * config.credit.batches


def domain_credits(problem: Problem, policy: MaskingPolicy) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """All of `DomainCredits`, made in this process, as `standardised` has them."""
    tell_of_repeats(problem)
    along = DomainCredits(problem, policy)
    for number in range(states(problem.config)):
        yield from standardised(along.credit(number, 0, batches_of_point(problem.config)))


def standardised(parts: Sequence[Credited]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What was credited at a point, batch by batch.

    Yields:
        ids [B, T], real [B, T], credits [B, T]: of mean 0 and variance 1 over the tokens of the point, NaN where
        nothing was masked.
    """
    credits = advantage(np.concatenate([part.credits for part in parts]))
    ends = np.cumsum([len(part.credits) for part in parts])
    for part, found in zip(parts, np.split(credits, ends[:-1]), strict=True):
        values = torch.full(part.mask.shape, torch.nan, dtype=torch.float64)
        ids, real, mask = map(torch.tensor, (part.ids, part.real, part.mask))  # copies: what a pool sends is read-only
        values[mask] = torch.from_numpy(found)
        yield ids, real, values


def measured_under(problem: Problem) -> str:
    """What stands behind the credits, in words."""
    config, have = problem.config, len(problem.examples("train"))
    at, trainings = steps(config), config.credit.trainings
    of = "a training" if trainings == 1 else f"each of {trainings} trainings"
    where = f"{plural(len(at), 'state')} of {of} under uniform masks (after {', '.join(map(str, at))} steps)"
    if config.credit.horizon == "end":
        where += ", for the outer loss at its end"
    return f"at {where}, under the labels of {min(have, problem.config.credit.examples or have):,} examples of train"
