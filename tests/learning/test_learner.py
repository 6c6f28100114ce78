"""What comes back from a pool."""

import weakref

import numpy as np
import pytest

from policylearn.cluster.calls import Call, Failure, Result, WorkFailed
from policylearn.learning.learner import collect, in_order

TICKETS = [3, 4, 5, 6]


def test_values_come_in_the_order_of_their_tickets():
    results = [Result(Call(ticket, sorted, ()), 10 * ticket) for ticket in (4, 3, 6, 5)]
    assert collect(results, TICKETS) == list(in_order(results, TICKETS, "parts")) == [30, 40, 50, 60]


def test_only_values_that_came_early_are_held():
    """A gradient of every part of the labelled texts is as large as the model: thousands of labels made many parts."""
    made, most = weakref.WeakSet(), 0

    class Gradient:
        def __init__(self) -> None:
            made.add(self)

    def results():
        for ticket in (4, 3, 6, 5):
            yield Result(Call(ticket, sorted, ()), Gradient())

    for value in in_order(results(), TICKETS, "parts"):
        most = max(most, len(made))
        del value
    assert most <= 2


@pytest.mark.parametrize("together", [collect, lambda *given, what: list(in_order(*given, what))])
@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        (Failure("not finite", "NaN"), WorkFailed, r"1 of 4 parts diverged: lower inner\.learning_rate"),
        (Failure("raised", "no room"), WorkFailed, "no room"),
        (Failure("bad input", "no row"), ValueError, "no row"),
    ],
)
def test_one_that_failed_is_not_passed_over(together, failure, error, message):
    results = [Result(Call(ticket, sorted, ()), failure=failure if ticket == 5 else None) for ticket in TICKETS]
    with pytest.raises(error, match=message):
        together(results, TICKETS, what="parts")


def test_some_may_overflow():
    results = [Result(Call(t, sorted, ()), t, Failure("not finite", "NaN") if t == 5 else None) for t in TICKETS]
    assert collect(results, TICKETS, max_dropped=0.25) == [3, 4, 6]
    assert np.array_equal(collect(results[:2], TICKETS[:2]), [3, 4])
