"""What a pool is asked and what it answers: calls, results, failures. All are plain values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Work = Callable[..., Any]
"""A pure function of (problem, *arguments): where, in which order and how often it runs makes no difference."""

FailureKind = Literal["not finite", "bad input", "raised", "lost", "late"]
"""A number overflowed; a `ValueError`, which going on will not mend; the work raised something else; its worker was
lost; it ran past the deadline."""


class WorkFailed(RuntimeError):
    """Work that a run cannot do without has failed; the message says which, why, and how to see it again."""


@dataclass(frozen=True)
class Call:
    """Work to be done.

    Attributes:
        ticket: number of the call, in the order of submission.
        work, arguments: `work(problem, *arguments)` is to be computed.
        tries: how often that has failed.
        shunned: the workers on which it has.
    """

    ticket: int
    work: Work
    arguments: Sequence[Any]
    tries: int = 0
    shunned: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Failure:
    """Why there is no value; `trace` is the traceback of what was raised, as text."""

    kind: FailureKind
    reason: str
    trace: str = ""


@dataclass(frozen=True)
class Result:
    """What became of a call: its value, or why there is none, and then what to do about it."""

    call: Call
    value: Any = None
    failure: Failure | None = None
    advice: str = ""

    def required(self) -> Any:
        """The value, where a run cannot go on without it.

        Raises:
            ValueError: there is none, for the input is bad.
            WorkFailed: there is none for another reason. The messages end with the advice.

        >>> call, failure = Call(3, sorted, ["random", 7], tries=2), Failure("lost", "the node was shut down")
        >>> Result(call, failure=failure, advice="Try a larger machine.").required()
        Traceback (most recent call last):
        ...
        policylearn.cluster.calls.WorkFailed: sorted(random, 7) failed 2 times: the node was shut down
        Try a larger machine.
        """
        if self.failure is not None and self.failure.kind == "bad input":
            raise ValueError(self.explained())
        if self.failure is not None:
            raise WorkFailed(self.explained())
        return self.value

    def explained(self) -> str:
        """What failed, how often, why, and the advice."""
        assert self.failure is not None
        often = f" {self.call.tries} times" if self.call.tries > 1 else ""
        parts = [
            f"{described(self.call)} failed{often}: {self.failure.reason}",
            self.failure.trace.strip(),
            self.advice,
        ]
        return "\n".join(part for part in parts if part)


def described(call: Call) -> str:
    """The work and its plain arguments (seeds, arms), for people."""
    plain = [str(a) for a in call.arguments if isinstance(a, int | str) and not isinstance(a, bool)]
    return f"{call.work.__name__}({', '.join(plain)})"
