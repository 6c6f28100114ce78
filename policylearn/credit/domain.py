"""Credits of the domain's tokens under all labels at once: what `diagnose` measures by halves, to learn from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policylearn.config import Config
from policylearn.credit.along import SEED, Viewpoint, credits_along, states, steps
from policylearn.credit.credits import masked_texts, take
from policylearn.credit.labels import cross_fitted
from policylearn.credit.sums import advantage
from policylearn.masking import MaskedBatch
from policylearn.policy.policy import MaskingPolicy
from policylearn.problem import Problem
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


class DomainCredits:
    """Trainings along which tokens of the domain are credited under the outer gradient of the labelled examples, each
    of which is query once and support in other folds.

    Args:
        problem: `config.credit` names points, batches, examples and folds.
        policy: of uniform masks, under which every word gets its credit.
        under: what the trainings are masked by; None: as well by uniform masks.
    """

    def __init__(self, problem: Problem, policy: MaskingPolicy, under: MaskingPolicy | None = None) -> None:
        settings = problem.config.credit
        train, rng = problem.examples("train"), np.random.default_rng(SEED)
        picked, self._rows = rng.permutation(len(train))[: settings.examples], rng.permutation(len(problem.domain))
        y = train.y[train.targets_of(picked)]
        loss = cross_fitted(problem, picked, y, settings.folds, settings.resplits, SEED)
        self._problem, self._policy = problem, policy
        self._points = enumerate(credits_along(problem, under or policy, {ALL: loss}))
        self.number, self._viewpoint = -1, None

    number: int
    """Of the point that the trainings are at, from 0 on through all of them."""
    _viewpoint: Viewpoint | None

    def credit(self, number: int, first: int, last: int) -> list[Credited]:
        """Batches `first` to `last` of those that are credited at a point, of which there are `batches_of_point`.

        They are the same, to the last bit, whatever was asked for before. The training does not go back: points come
        in ascending order.
        """
        assert number >= self.number, "the training is past that point"
        while self.number < number:
            self.number, self._viewpoint = next(self._points)
        assert self._viewpoint is not None
        before = number * batches_of_point(self._problem.config) + first
        texts = take(masked_texts(self._problem, self._policy, self._rows, SEED, first=before), last - first)
        found = self._viewpoint.credits(self._viewpoint.watch("batches of masked texts", texts), [ALL])
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
