"""The pools give the same bits. Ray starts once for the whole file; its workers, which must import torch, per pool."""

import io
import json
import logging
import os
import shutil
import signal
import time

import pytest
import ray
import torch
from rich.console import Console

from policylearn.arms.arms import initial_policy
from policylearn.cluster.calls import Failure, WorkFailed
from policylearn.cluster.pool import LocalPool, open_pool
from policylearn.cluster.ray_pool import RayPool
from policylearn.cluster.ray_worker import FETCHED
from policylearn.data.planted import planted_task, planted_tokenizer
from policylearn.learning.learn import learn
from policylearn.messages.watch import Watch
from policylearn.problems.of_config import problem_of
from policylearn.report.console import RoundProgress
from policylearn.runs.provenance import fingerprint
from policylearn.runs.run import Run


# Functions inside functions: Ray sends them by value, for its workers do not know this module.
def process_id():
    def pid(problem, number):
        return os.getpid()

    return pid


def values(pool, work, *arguments) -> list:
    """In the order of the arguments; every call must succeed."""
    tickets = pool.submit(work, [(a,) for a in arguments])
    found = {result.call.ticket: result.required() for result in pool.results(tickets)}
    return [found[ticket] for ticket in tickets]


def failures(pool, work, *arguments) -> dict:
    """By argument."""
    results = pool.results(pool.submit(work, [(a,) for a in arguments]))
    return {result.call.arguments[0]: result for result in results if result.failure}


def all_there(pool, count) -> None:
    """Wait until so many workers are ready."""
    while pool.alive() < count:
        values(pool, process_id(), 0)


def failing(error):
    def rollout_of_a_seed(problem, seed):
        if seed == 13:
            raise error("loss" if error is FloatingPointError else "no loss")
        return seed

    return rollout_of_a_seed


@pytest.fixture(scope="module")
def cluster():
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def two_workers(cluster, config):
    with open_pool(config(2, "cluster.retries=3")) as pool:
        assert isinstance(pool, RayPool)
        yield pool
    assert ray.is_initialized()  # a pool leaves a cluster it did not start


@pytest.fixture(scope="module")
def one_worker(cluster, config):
    with open_pool(config(1)) as pool:
        yield pool


def test_the_reference_learned_something(reference):
    tensors, history = reference
    assert tensors["phi.network.logits"].abs().max() > 0
    assert [line["round"] for line in history] == [0, 1]


def test_the_order_of_arrival_does_not_matter(config, check_bits):
    class Backwards(LocalPool):
        def results(self, tickets):
            yield from reversed(list(super().results(tickets)))

    settings = config(1, "cluster.backend=local")
    with Backwards(settings) as pool:
        check_bits(settings, pool)


def test_credits_of_two_ray_workers_are_those_of_this_process(two_workers, config, tmp_path):
    all_there(two_workers, 2)
    settings = config(2, "policy.prior={}", "policy.network=none", "learn.stages=[expected]")
    found = []
    for number, pool in enumerate((two_workers, LocalPool(settings))):
        problem, run = problem_of(settings), Run.open(tmp_path / str(number), settings, Console(file=io.StringIO()))
        policy = initial_policy(problem)
        learn(settings, problem, policy, pool, run)
        found.append(policy)
    assert fingerprint(found[0]) == fingerprint(found[1])
    assert found[0].scores.words.nan_to_num().any()


def test_one_ray_worker_gives_the_bits_of_this_process(one_worker, config, check_bits):
    check_bits(config(1), one_worker)
    assert one_worker.alive() == 1


def test_workers_killed_in_mid_round_change_nothing(two_workers, config, check_bits, monkeypatch):
    """All that there are, again and again, each when results of a round are there and others under way."""
    advance, lost, calls = RoundProgress.advance, two_workers.lost, []

    def advance_and_kill(progress):
        calls.append(1)
        if len(calls) in (1, 4):  # the first result of each of the two rounds
            for pid in processes_of(two_workers):
                os.kill(pid, signal.SIGKILL)
        advance(progress)

    all_there(two_workers, 2)
    monkeypatch.setattr(RoundProgress, "advance", advance_and_kill)
    check_bits(config(2), two_workers)
    assert two_workers.lost - lost >= 2  # a worker that had nothing to do may not have been missed


def processes_of(pool) -> list[int]:
    """Of the workers that are ready."""
    return [pool._places[worker].process for worker in pool._schedule.workers]


@pytest.mark.parametrize("kind", ["not finite", "raised"])
def test_a_failure_is_a_value_with_its_traceback_and_the_pool_goes_on(two_workers, tiny, kind):
    work = failing(FloatingPointError if kind == "not finite" else KeyError)
    for pool in (two_workers, LocalPool(tiny())):
        (result,) = failures(pool, work, 11, 12, 13, 14).values()
        assert (result.call.arguments, result.failure.kind) == ((13,), kind)
        assert ("in rollout_of_a_seed" in result.failure.trace) == (kind == "raised")
        with pytest.raises(WorkFailed, match=r"rollout_of_a_seed\(13\) failed.*: (KeyError: 'no )?loss"):
            result.required()
        assert values(pool, work, 1, 2) == [1, 2]


def test_what_raises_is_tried_elsewhere_and_what_diverges_is_not(two_workers, tmp_path):
    """Divergence is arithmetic, the same anywhere; other exceptions may be a machine's."""

    def leave_a_mark(problem, name):
        with open(tmp_path / name, "a") as file:
            file.write(f"{os.getpid()}\n")
        raise FloatingPointError("nan") if name == "nan" else OSError("no space left on this machine")

    all_there(two_workers, 2)
    tries = {name: result.call.tries for name, result in failures(two_workers, leave_a_mark, "nan", "disk").items()}
    assert tries == {"nan": 0, "disk": 4}
    assert len((tmp_path / "nan").read_text().split()) == 1
    assert len(set((tmp_path / "disk").read_text().split())) == 2


def test_work_that_always_kills_its_worker_is_given_up(one_worker):
    def deadly(problem, seed):
        os.kill(os.getpid(), signal.SIGKILL)

    (result,) = failures(one_worker, deadly, 7).values()
    with pytest.raises(WorkFailed, match=r"deadly\(7\) failed 2 times: its worker, process .* was lost: "):
        result.required()
    assert values(one_worker, failing(KeyError), 1) == [1]


@pytest.mark.long
def test_work_that_hangs_is_ended_at_the_deadline_and_tried_again(cluster, config):
    """SIGSTOP: the process is there and answers nothing, as on a machine that hangs."""

    def hang(problem, seed):
        os.kill(os.getpid(), signal.SIGSTOP)

    with open_pool(config(1, "cluster.deadline=2")) as pool:
        (result,) = failures(pool, hang, 5).values()
        assert (result.failure.kind, result.call.tries, pool.lost) == ("late", 2, 2)
        assert "no result after cluster.deadline, 2 s" in result.failure.reason
        assert values(pool, failing(KeyError), 1) == [1]


def test_workers_that_cannot_be_started_end_the_run(cluster, config):
    settings = config(1)
    broken = settings.model_copy(update={"cluster": settings.cluster.model_copy(update={"threads": 0})})
    with open_pool(broken) as pool, pytest.raises(WorkFailed, match=r"(?s)workers cannot be started: .*positive int"):
        values(pool, failing(KeyError), 1)


def test_all_workers_of_a_large_pool_may_be_lost_before_they_answer(tiny, monkeypatch):
    """As where the one machine goes that all of them were being started on."""

    class Starting(RayPool):
        def __init__(self, config):
            self._config, self._failed_starts, self.hired = config, 0, 0

        def _hire(self):
            self.hired += 1

        def _dismiss(self, worker):
            pass

    monkeypatch.setattr("policylearn.cluster.ray_pool._place", lambda reference: Failure("lost", "the node is gone"))
    pool = Starting(tiny("cluster.backend=ray", "cluster.workers=96"))
    for worker in range(96):
        pool._welcome(worker, None)
    assert pool.hired == 96
    with pytest.raises(WorkFailed, match="the node is gone"):
        for worker in range(96, 200):
            pool._welcome(worker, None)


def test_results_nobody_waits_for_are_dropped(two_workers):
    tickets = two_workers.submit(failing(KeyError), [(n,) for n in range(6)])
    for _ in two_workers.results(tickets):
        break
    later = two_workers.submit(failing(KeyError), [(8,)])
    two_workers.drop(later)
    assert values(two_workers, failing(KeyError), 7) == [7]
    assert not two_workers._finished


def test_calls_submitted_together_may_be_waited_for_apart(two_workers, tiny):
    def twice(problem, number):
        return 2 * number

    for pool in (two_workers, LocalPool(tiny())):
        first, second = pool.submit(twice, [(1,), (2,)]), pool.submit(twice, [(3,)])
        assert [result.value for result in pool.results(second)] == [6]
        assert sorted(result.value for result in pool.results(first)) == [2, 4]
        assert list(pool.results([])) == []


def test_a_shared_value_arrives(two_workers, tiny):
    def total(problem, tensors):
        return sum(t.sum().item() for t in tensors.values())

    for pool in (two_workers, LocalPool(tiny())):
        assert values(pool, total, pool.share({"a": torch.ones(3), "b": torch.ones(2)})) == [5.0]


def test_a_shared_value_is_unpacked_once_a_worker_and_forgotten_after_newer_ones(one_worker):
    def remember(problem, value, number):
        known = value.setdefault("numbers", [])
        known.append(number)
        return list(known)

    shared = [one_worker.share({}) for _ in range(FETCHED + 1)]
    calls = [(value, n) for value in (shared[0], *shared, shared[0]) for n in (1, 2)]
    tickets = one_worker.submit(remember, calls)
    found = {result.call.ticket: result.required() for result in one_worker.results(tickets)}
    answers = [found[ticket] for ticket in tickets]
    assert answers[:4] == [[1], [1, 2], [1, 2, 1], [1, 2, 1, 2]]
    assert answers[4:] == [[1], [1, 2]] * (FETCHED + 1)


def test_workers_get_what_was_read_and_open_no_file(cluster, tiny, tmp_path):
    """The folder of the task is gone by the time that the worker would look for it."""
    task, source = tmp_path / "task", planted_task(tiny().planted)
    task.mkdir()
    for name, split in source.splits.items():
        records = [{"text": t, "label": y} for t, y in zip(split.texts, split.labels, strict=True)]
        (task / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    planted_tokenizer(tiny().planted).save_pretrained(tmp_path / "tokenizer")
    settings = tiny(
        "cluster.backend=ray",
        f"task.path={task}",
        f"model.tokenizer={tmp_path}/tokenizer",
        "cluster.workers=1",
    )

    def what(problem):
        return problem.examples("dev").rows.flat.sum(), problem.labels, problem.domain.flat.flags.owndata

    problem, told, begun = problem_of(settings), list[str](), list[str]()
    data = problem.data()
    shutil.rmtree(task)

    class Looks(Watch):
        def begin(self, work, total=None):
            begun.append(work)
            return super().begin(work, total)

    with open_pool(settings, data, told.append, Looks()) as pool:
        assert (told, begun) == (["workers  1 are being started by ray"], ["starting ray"])
        (result,) = pool.results(pool.submit(what, [()]))
    total, labels, copied = result.required()
    assert (total, labels) == (problem.examples("dev").rows.flat.sum(), problem.labels)
    assert not copied  # it lies in the memory that the processes of a node share


def test_an_address_where_no_cluster_answers(config, monkeypatch):
    settings = config(1)
    wrong = settings.model_copy(update={"cluster": settings.cluster.model_copy(update={"address": "nowhere"})})
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *a, **k: (_ for _ in ()).throw(ConnectionError("no answer")))
    with pytest.raises(ValueError, match=r"cluster\.address 'nowhere': no Ray cluster answers there: no answer"):
        RayPool(wrong)


def test_in_a_ray_job_the_jobs_cluster_is_joined(config, monkeypatch):
    seen = {}

    def init(*addresses, **settings):
        seen.update(addresses=addresses, **settings)
        raise ConnectionError("as far as this test goes")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr("policylearn.cluster.connection._check_address", lambda address, key: None)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(ValueError, match=r"10\.0\.0\.1:6379"):
        RayPool(config(1))
    assert seen["addresses"] == ("10.0.0.1:6379",)
    assert "num_cpus" not in seen  # which Ray refuses when joining


def test_a_call_that_nobody_waits_for_is_not_tried_again(two_workers, tmp_path):
    counted = tmp_path / "counted"

    def fails(problem):
        with counted.open("a") as file:
            file.write("x")
        time.sleep(2.0)
        raise KeyError("x")

    while two_workers.alive() < 2:
        values(two_workers, failing(KeyError), 1)
    slow, quick = two_workers.submit(fails, [()]), two_workers.submit(failing(KeyError), [(7,)])
    assert [result.value for result in two_workers.results(quick)] == [7]
    two_workers.drop(slow)
    while two_workers._dropped:
        values(two_workers, failing(KeyError), 1)
    assert counted.read_text() == "x" and not two_workers._finished
