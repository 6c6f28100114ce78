"""What a way of learning is: a policy → a better one, round by round, on a pool."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, Protocol

from policylearn.cluster.calls import Result, WorkFailed
from policylearn.cluster.pool import Pool
from policylearn.config import Config
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.runs.state import State

States = Generator[State, None, None]


class Learner(Protocol):
    """A way of learning. It knows of no console, tracker or folder: whoever drives it sees to these, see `learn`."""

    def __call__(self, problem: Problem, policy: MaskingPolicy, pool: Pool, state: State, config: Config) -> States:
        """Go on from a state.

        Args:
            problem: data and models.
            policy: to be learned, in place. At first it is what learning starts from, whatever the state.
            pool: runs what can be run elsewhere.
            state: a new one, or one that was kept; it is moved in place as well.
            config: the experiment.

        Yields:
            the state, after every round; closed early, nothing of it is lost. The last word is with whoever drives it:
            `State.tried` says what the newest round has to say for which φ.

        Raises:
            WorkFailed: what cannot be done without has failed wherever it was tried.
            ValueError: the input is bad.
        """
        ...


def collect(
    results: Iterable[Result], tickets: Sequence[int], max_dropped: float = 0.0, what: str = "rollouts"
) -> list[Any]:
    """Values in the order of their tickets, whatever order they come in, without those of which a number overflowed.

    Args:
        results: what became of the calls.
        tickets: theirs.
        max_dropped: share of them that may be left out.
        what: they are.

    Raises:
        WorkFailed: one failed in another way, or more than may be left out overflowed.
    """
    values, dropped = {}, []
    for result in results:
        if _overflowed(result):
            dropped.append(result)
        else:
            values[result.call.ticket] = result.required()
    if dropped and (not values or len(dropped) > max_dropped * len(tickets)):
        raise _diverged(dropped, tickets, what)
    return [values[ticket] for ticket in tickets if ticket in values]


def in_order(results: Iterable[Result], tickets: Sequence[int], what: str) -> Iterator[Any]:
    """The same one by one, each as soon as it is its turn: of values too large for all to be held at a time.

    Raises:
        WorkFailed: one failed, or a number overflowed.
    """
    early, turns = dict[int, Any](), iter(tickets)
    turn = next(turns, None)
    for result in results:
        if _overflowed(result):
            raise _diverged([result], tickets, what)
        early[result.call.ticket] = result.required()
        while turn in early:
            yield early.pop(turn)
            turn = next(turns, None)


def _overflowed(result: Result) -> bool:
    return result.failure is not None and result.failure.kind == "not finite"


def _diverged(dropped: Sequence[Result], tickets: Sequence[int], what: str) -> WorkFailed:
    reason = f"{len(dropped)} of {len(tickets)} {what} diverged: lower inner.learning_rate, or set inner.clip"
    return WorkFailed(f"{reason}\n{dropped[0].explained()}")
