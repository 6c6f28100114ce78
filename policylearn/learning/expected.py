"""Stage "expected": what predicting a word is worth, in closed form, from credits that the whole pool measures.

Let c_i be the credit of masked token i and k(i) its word. The policy gradient of a table over words is, at uniform
masks, up to a factor the sum of c_i by word; that sum over n_k + σ² / τ² is the ridge regression of credits on words,
one Gauss–Newton step (see `scores.credit.expected`). Rounds go on from there by gradients that are measured anew.
"""

from time import monotonic

from torch import Tensor

from policylearn.arms.policies import build_policy, build_uniform, sources_of, use_scores
from policylearn.cluster.pool import Pool
from policylearn.config import Config
from policylearn.credit.along import states, steps
from policylearn.credit.domain import Credited, DomainCredits, batches_of_point, standardised
from policylearn.learning.learner import States, collect
from policylearn.policy.policy import MaskingPolicy
from policylearn.problem import Problem
from policylearn.runs.state import State
from policylearn.scores.credit import CREDIT, expected_scores
from policylearn.scores.occurrences import OccurrenceMeans

SHARE = 8
"""Batches of one call: enough to be worth it, few enough for many workers."""
ALONG = "credited along"
"""Where in `Problem.memo` a worker keeps the training that it credits along."""


def expected(problem: Problem, policy: MaskingPolicy, pool: Pool, state: State, config: Config) -> States:
    """Credit the domain's tokens on the pool, a state of the model after the other, and add what is expected of every
    word to the policy's logits, `credit.strength` per standard deviation. Yields after every state of the model.

    A worker trains to that state once and credits shares of the batches there. What comes back is summed in the order
    of the batches: no number of workers, and no order in which they finish, changes a bit. See `Learner`.
    """
    means, shared = OccurrenceMeans(problem.vocabulary, sources_of(problem).lexicon), pool.share(build_uniform(problem))
    restore_means(means, state.tensors)
    points = range(state.round, states(config))
    under_way = {
        number: pool.submit(credit_share, [(shared, number, *share) for share in shares(config)]) for number in points
    }
    try:
        for number in points:
            started, tickets = monotonic(), under_way.pop(number)
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
        for tickets in under_way.values():
            pool.drop(tickets)
    use_scores(problem, CREDIT, expected_scores(means, sources_of(problem)))
    prior = policy.config.prior | {CREDIT: config.credit.strength}
    policy.become(build_policy(problem, policy.config.model_copy(update={"prior": prior})))


def shares(config: Config) -> list[tuple[int, int]]:
    """The batches of a point, cut into calls: first and last of each. How many workers there are is no matter.

    >>> shares(Config.model_validate({"credit": {"batches": 9}}))
    [(0, 8), (8, 16), (16, 18)]
    """
    batches = batches_of_point(config)
    return [(first, min(first + SHARE, batches)) for first in range(0, batches, SHARE)]


def credit_share(problem: Problem, uniform: MaskingPolicy, number: int, first: int, last: int) -> list[Credited]:
    """What a worker runs: `DomainCredits.credit`, along the training that it is on already unless that is past the
    point. One that has raised is not gone on with."""
    along: DomainCredits | None = problem.memo.pop(ALONG, None)
    if along is None or along.number > number:
        along = DomainCredits(problem, uniform)
    found = along.credit(number, first, last)
    problem.memo[ALONG] = along
    return found


def tensors_of(means: OccurrenceMeans) -> dict[str, Tensor]:
    """Copies of the sums, by name."""
    kinds = {"types": means.types, "words": means.words}
    return {f"{kind}.{name}": value.clone() for kind, sums in kinds.items() for name, value in vars(sums).items()}


def restore_means(means: OccurrenceMeans, tensors: dict[str, Tensor]) -> None:
    """Undo `tensors_of`, in place; without tensors the means stay as they are."""
    for name, value in tensors.items():
        kind, _, part = name.partition(".")
        setattr(getattr(means, kind), part, value.clone())
