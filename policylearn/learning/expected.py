"""Stage "expected": what predicting a word is worth, in closed form, from credits that the whole pool measures.

Let c_i be the credit of masked token i and k(i) its word. The policy gradient of a table over words is, at uniform
masks, up to a factor the sum of c_i by word; that sum over n_k + σ² / τ² is the ridge regression of credits on words,
one Gauss–Newton step (see `scores.credit.expected`). Rounds go on from there by gradients that are measured anew.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policylearn.arms.policies import build_policy, build_uniform, sources_of, use_scores
from policylearn.cluster.pool import Pool
from policylearn.config import Config
from policylearn.credit.along import states, steps, tell_of_repeats
from policylearn.credit.credits import GROUP
from policylearn.credit.domain import Credited, DomainCredits, batches_of_point, labelled_loss, standardised
from policylearn.credit.outer import parts_of, slopes_of
from policylearn.learning.learner import States, collect, in_order
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.runs.state import State
from policylearn.scores.credit import CREDIT, expected_scores
from policylearn.scores.occurrences import OccurrenceMeans

SHARE = GROUP
"""Batches of one call, a multiple of `GROUP`: enough to be worth it, few enough for many workers."""
ALONG = "credited along"
"""Where in `Problem.memo` a worker keeps the training that it credits along."""


def expected(problem: Problem, policy: MaskingPolicy, pool: Pool, state: State, config: Config) -> States:
    """Credit the domain's tokens on the pool, a state of the model after the other, and add what is expected of every
    word to the policy's logits, `credit.strength` per standard deviation. Yields after every state of the model.

    A worker trains to that state once. The outer gradient there is computed once for all, a part of the labelled texts
    per call, and then shares of the batches are credited under it. What comes back is summed in the order of parts and
    batches: no number of workers, and no order in which they finish, changes a bit. See `Learner`.
    """
    tell_of_repeats(problem)
    means, shared = OccurrenceMeans(problem.vocabulary, sources_of(problem).lexicon), pool.share(build_uniform(problem))
    restore_means(means, state.tensors)
    outer, points = OuterGradient(problem, pool, shared), range(state.round, states(config))
    try:
        for number in points:
            started, gradient = monotonic(), outer.at(number)
            tickets = pool.submit(credit_share, [(shared, number, *share, gradient) for share in shares(config)])
            if number + 1 in points:
                outer.begin(number + 1)  # behind the shares: whoever finds none left goes on to the next point
            parts = [part for found in collect(pool.results(tickets), tickets, what="shares") for part in found]
            for ids, real, credits in standardised(parts):
                means.add(ids, real, credits)
            record = {
                "round": number,
                "step": steps(config)[number % config.credit.points],
                "masked_tokens": sum(len(p.credits) for p in parts),
            }
            state.history.append(record | {"workers": pool.alive(), "seconds": monotonic() - started})
            state.tensors, state.round = tensors_of(means), number + 1
            yield state
    finally:
        outer.drop()
    use_scores(problem, CREDIT, expected_scores(means, sources_of(problem)))
    prior = policy.config.prior | {CREDIT: config.credit.strength}
    policy.become(build_policy(problem, policy.config.model_copy(update={"prior": prior})))


class OuterGradient:
    """The outer gradient at a state of the model, computed on a pool: features of all parts of the labelled examples,
    then what the loss says of them, then what every part makes of that, see `credit.outer`.

    Args:
        problem: has the labelled examples.
        pool: its workers train to the state.
        shared: the uniform policy, as the pool shares it.
    """

    def __init__(self, problem: Problem, pool: Pool, shared: Any) -> None:
        self._parts = labelled_parts(problem)
        self._pool, self._shared = pool, shared
        self._begun: dict[int, list[int]] = {}

    def begin(self, number: int) -> None:
        """Have features of a point computed."""
        if number not in self._begun and self._parts:
            calls = [(self._shared, number, part) for part in self._parts]
            self._begun[number] = self._pool.submit(features_of_part, calls)

    def at(self, number: int) -> Any:
        """The gradient by parameter name, as the pool shares it; None: it is seen from the end, by every worker."""
        if not self._parts:
            return None
        self.begin(number)
        features = list(self._each(self._begun.pop(number)))
        (slopes,) = self._each(self._pool.submit(slopes_at, [(self._pool.share(features),)]))
        calls = [(self._shared, number, *part) for part in zip(self._parts, slopes, strict=True)]
        total = dict[str, np.ndarray]()
        for part in self._each(self._pool.submit(gradient_of_part, calls)):  # each as large as the model
            for name, gradient in part.items():
                if name in total:
                    total[name] += gradient
                else:
                    total[name] = np.array(gradient)
        return self._pool.share(total)

    def drop(self) -> None:
        """Nobody wants what was begun."""
        for tickets in self._begun.values():
            self._pool.drop(tickets)

    def _each(self, tickets: list[int]) -> Iterator[Any]:
        return in_order(self._pool.results(tickets), tickets, "parts")


def labelled_parts(problem: Problem) -> list[np.ndarray]:
    """The parts of the labelled examples; none for credits that are seen from the end."""
    return parts_of(labelled_loss(problem)) if problem.config.credit.horizon == "step" else []


def calls_of_point(config: Config, problem: Problem) -> int:
    """How many calls a point takes: of features, gradients and shares, and one between."""
    parts = len(labelled_parts(problem))
    return len(shares(config)) + 2 * parts + min(parts, 1)


def shares(config: Config) -> list[tuple[int, int]]:
    """The batches of a point, cut into calls: first and last of each. How many workers there are is no matter.

    >>> shares(Config.model_validate({"credit": {"batches": 9}}))
    [(0, 8), (8, 16), (16, 18)]
    """
    batches = batches_of_point(config)
    return [(first, min(first + SHARE, batches)) for first in range(0, batches, SHARE)]


@contextmanager
def going_along(problem: Problem, uniform: MaskingPolicy, number: int) -> Iterator[DomainCredits]:
    """The training that a worker is on already, unless that is past the point. One within which something is raised is
    not gone on with."""
    along: DomainCredits | None = problem.memo.pop(ALONG, None)
    if along is None or along.number > number:
        along = DomainCredits(problem, uniform)
    yield along
    problem.memo[ALONG] = along


def features_of_part(problem: Problem, uniform: MaskingPolicy, number: int, part: np.ndarray) -> np.ndarray:
    """What a worker runs: `DomainCredits.features`."""
    with going_along(problem, uniform, number) as along:
        return along.features(number, part)


def slopes_at(problem: Problem, features: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What one worker runs for all, whose sums are of as many threads as those of any other: ∂(outer loss)/∂x."""
    loss = labelled_loss(problem)
    slopes = slopes_of(loss, parts_of(loss), [torch.tensor(x) for x in features])
    return [slope.numpy() for slope in slopes]


def gradient_of_part(
    problem: Problem, uniform: MaskingPolicy, number: int, part: np.ndarray, slope: np.ndarray
) -> dict[str, np.ndarray]:
    """What a worker runs: `DomainCredits.gradient`."""
    with going_along(problem, uniform, number) as along:
        return along.gradient(number, part, slope)


def credit_share(
    problem: Problem,
    uniform: MaskingPolicy,
    number: int,
    first: int,
    last: int,
    gradient: Mapping[str, np.ndarray] | None = None,
) -> list[Credited]:
    """What a worker runs: `DomainCredits.credit`."""
    with going_along(problem, uniform, number) as along:
        return along.credit(number, first, last, gradient)


def tensors_of(means: OccurrenceMeans) -> dict[str, Tensor]:
    """Copies of the sums, by name."""
    kinds = {"types": means.types, "words": means.words}
    return {f"{kind}.{name}": value.clone() for kind, sums in kinds.items() for name, value in vars(sums).items()}


def restore_means(means: OccurrenceMeans, tensors: dict[str, Tensor]) -> None:
    """Undo `tensors_of`, in place; without tensors the means stay as they are."""
    for name, value in tensors.items():
        kind, _, part = name.partition(".")
        setattr(getattr(means, kind), part, value.clone())
