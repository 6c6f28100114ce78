"""Calls and workers without either: which call goes where, and what becomes of it when a worker leaves."""

import hypothesis.strategies as st
from hypothesis import given, settings

from policylearn.cluster.calls import Call, Failure
from policylearn.cluster.schedule import PREFETCH, Schedule

LOST = Failure("lost", "gone")


def schedule(workers, calls, retries=3):
    made = Schedule(retries)
    for worker in range(workers):
        made.join(worker)
    for ticket in range(calls):
        made.add(Call(ticket, print, ()))
    return made


def assigned(made, now=0.0):
    return [(worker, call.ticket) for worker, call in made.assign(now)]


def test_every_worker_gets_one_call_and_short_calls_are_given_two_at_a_time():
    made = schedule(2, 6)
    assert assigned(made) == [(0, 0), (1, 1)]
    assert made.finish(0, PREFETCH * 2).ticket == 0
    assert assigned(made, PREFETCH * 2) == [(0, 2)]
    assert made.finish(0, PREFETCH * 2.5).ticket == 2
    assert assigned(made) == [(0, 3), (1, 4), (0, 5)]
    assert assigned(made) == []


def test_the_running_call_of_a_lost_worker_comes_back_and_those_behind_it_wait_again_in_front():
    made = schedule(1, 4)
    assigned(made)
    made.finish(0, 0.1)
    assert assigned(made) == [(0, 1), (0, 2)]
    running = made.leave(0)
    assert running.ticket == 1
    assert made.again(running, LOST, worker=0) is None
    made.join(1)
    made.join(2)
    assert [ticket for _, ticket in assigned(made)] == [1, 2, 3]
    assert made.leave(9) is None  # one that never joined


def test_a_call_is_tried_elsewhere_where_there_is_an_elsewhere():
    made = schedule(2, 1)
    ((worker, call),) = made.assign(0.0)
    made.finish(worker, 0.0)
    made.again(call, LOST, worker)
    ((other, again),) = made.assign(0.0)
    assert {worker, other} == {0, 1}
    made.leave(0 if other == 1 else 1)
    made.finish(other, 0.0)
    made.again(again, LOST, other)
    assert [w for w, _ in made.assign(0.0)] == [other]  # better there than never


def test_retries_are_counted_and_the_innocent_are_not_charged():
    made = schedule(1, 1, retries=1)
    for innocent in (True, True, False):
        ((worker, call),) = made.assign(0.0)
        made.finish(worker, 0.0)
        assert made.again(call, LOST, worker, innocent) is None
    ((worker, call),) = made.assign(0.0)
    result = made.again(made.finish(worker, 0.0), LOST, worker)
    assert (result.call.tries, result.failure) == (2, LOST)


def test_deadlines_count_from_when_a_call_is_the_first_of_its_worker():
    made = schedule(1, 3)
    assigned(made, 0.0)
    made.finish(0, 0.5)
    assigned(made, 0.5)
    assert made.remaining(0, 1.0, deadline=10) == 9.5
    made.finish(0, 8.0)
    assert made.overdue(17.9, deadline=10) == []
    assert made.overdue(18.1, deadline=10) == [0]
    made.finish(0, 18.2)
    assert made.remaining(0, 19.0, deadline=10) == float("inf")


def test_forgotten_calls_are_not_handed_out_and_those_under_way_are_named():
    made = schedule(1, 3)
    assigned(made)
    assert made.forget([0, 2]) == {0}
    made.finish(0, 5.0)
    assert assigned(made) == [(0, 1)]


@settings(max_examples=200)
@given(st.data())
def test_every_call_ends_exactly_once_whatever_happens(data):
    """Workers join, leave, finish and fail in any order; each ticket is settled once, and none is forgotten."""
    count, made, settled, numbers = 8, schedule(0, 8), [], iter(range(10_000))
    running: dict[int, list[int]] = {}
    for step in range(10_000):
        if len(settled) == count:
            break
        for worker, call in made.assign(float(step)):
            running[worker].append(call.ticket)
            assert len(running[worker]) <= 2
        busy = [worker for worker, calls in running.items() if calls]
        # Past a while nothing goes wrong any more, else this would not end.
        choices = ["finish"] * bool(busy) + ["join"] * (len(running) < 4)
        choices += ["leave", "raise"] * (step < 60 and bool(busy))
        match data.draw(st.sampled_from(choices)):
            case "join":
                worker = next(numbers)
                made.join(worker)
                running[worker] = []
            case "finish":
                worker = data.draw(st.sampled_from(busy))
                settled.append(made.finish(worker, float(step)).ticket)
                assert running[worker].pop(0) == settled[-1]
            case "leave":
                worker = data.draw(st.sampled_from(busy))
                head = made.leave(worker)
                assert running.pop(worker)[0] == head.ticket
                if result := made.again(head, LOST, worker, innocent=data.draw(st.booleans())):
                    settled.append(result.call.ticket)
            case "raise":
                worker = data.draw(st.sampled_from(busy))
                running[worker].pop(0)
                if result := made.again(made.finish(worker, float(step)), LOST, worker):
                    settled.append(result.call.ticket)
    assert sorted(settled) == list(range(count))
