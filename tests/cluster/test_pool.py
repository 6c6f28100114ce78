"""The pools give the same bits. Ray starts once for the whole file; its workers, which must import torch, per pool."""

import io
import logging
import os
import signal

import pytest
import ray
import torch
from rich.console import Console

from policylearn.arms import initial_policy
from policylearn.cluster.checkpoint import load_latest
from policylearn.cluster.pool import LocalPool, WorkFailed, open_pool
from policylearn.cluster.ray_pool import RayPool
from policylearn.config import Config
from policylearn.problem import Problem
from policylearn.report.console import RoundProgress, TaskProgress
from policylearn.run import Run
from policylearn.train import learn

ROUNDS = ("learn.rounds=2", "learn.rollouts=3", "inner.steps=5")


# Functions inside functions: Ray sends them by value, for its workers do not know this module.
def process_id():
    def pid(problem, number):
        return os.getpid()

    return pid


def pids(pool) -> set[int]:
    return {pid for _, pid in pool.run(process_id(), [(i,) for i in range(4)])}


def failing():
    def rollout_of_a_seed(problem, seed):
        if seed == 13:
            raise FloatingPointError("the inner MLM loss became nan")
        return seed

    return rollout_of_a_seed


def learned_bits(config: Config, pool, folder) -> tuple[dict, list]:
    """φ and Adam's moments after the last round, and the history without what a clock measured."""
    run, problem = Run.open(folder, config, Console(file=io.StringIO())), Problem(config)
    learn(config, problem, initial_policy(problem), pool, run)
    state, _ = load_latest(folder / "checkpoints")
    measured = ("seconds", "workers")
    return state.tensors, [{k: v for k, v in line.items() if k not in measured} for line in state.history]


def assert_same_bits(a: tuple[dict, list], b: tuple[dict, list]) -> None:
    assert a[0].keys() == b[0].keys()
    assert all(torch.equal(a[0][name], b[0][name]) for name in a[0])
    assert a[1] == b[1]


@pytest.fixture(scope="module")
def config(tiny):
    return lambda workers: tiny(*ROUNDS, "cluster.backend=ray", "cluster.retries=1", f"cluster.workers={workers}")


@pytest.fixture(scope="module")
def reference(tiny, tmp_path_factory):
    config = tiny(*ROUNDS)
    with open_pool(config) as pool:
        assert isinstance(pool, LocalPool)
        return learned_bits(config, pool, tmp_path_factory.mktemp("local") / "run")


@pytest.fixture(scope="module")
def cluster():
    ray.init("local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def two_workers(cluster, config):
    with open_pool(config(2)) as pool:
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


def test_the_order_of_arrival_does_not_matter(tiny, reference, tmp_path):
    class Backwards(LocalPool):
        def run(self, work, calls):
            yield from reversed(list(super().run(work, calls)))

    with Backwards(tiny(*ROUNDS)) as pool:
        assert_same_bits(learned_bits(tiny(*ROUNDS), pool, tmp_path / "run"), reference)


def test_two_ray_workers_give_the_bits_of_this_process(two_workers, config, reference, tmp_path):
    assert len(pids(two_workers)) == 2
    assert two_workers.alive() == 2
    assert_same_bits(learned_bits(config(2), two_workers, tmp_path / "run"), reference)


def test_one_ray_worker_gives_the_bits_of_this_process(one_worker, config, reference, tmp_path):
    assert one_worker.alive() == 1
    assert_same_bits(learned_bits(config(1), one_worker, tmp_path / "run"), reference)


@pytest.mark.xfail(raises=WorkFailed, strict=False, reason="Ray may refuse a restarting worker's calls too long")
def test_a_worker_killed_in_mid_round_changes_nothing(two_workers, config, reference, tmp_path, monkeypatch):
    """Both are killed, one after the other, each when some results of a round are there and others under way."""
    alive, advance = [], RoundProgress.advance

    def advance_and_kill(progress):
        alive.append(two_workers.alive())
        if len(alive) in (4, 7):  # after the three baseline rollouts, the first result of each of two rounds
            os.kill(victims.pop(), signal.SIGKILL)
        advance(progress)

    victims = pids(two_workers)
    assert len(victims) == 2
    monkeypatch.setattr(TaskProgress, "advance", lambda progress: alive.append(two_workers.alive()))
    monkeypatch.setattr(RoundProgress, "advance", advance_and_kill)
    assert_same_bits(learned_bits(config(2), two_workers, tmp_path / "run"), reference)
    assert victims == set()
    assert min(alive) <= 1  # it was noticed


def test_work_that_raises_is_named_with_its_seed_and_the_pool_goes_on(two_workers):
    with pytest.raises(WorkFailed, match=r"rollout_of_a_seed\(13\) failed: the inner MLM loss became nan"):
        list(two_workers.run(failing(), [(11,), (12,), (13,), (14,)]))
    assert sorted(value for _, value in two_workers.run(failing(), [(1,), (2,)])) == [1, 2]


def test_work_that_raises_here_is_named_too(tiny):
    with open_pool(tiny()) as pool, pytest.raises(WorkFailed, match=r"rollout_of_a_seed\(13\) failed"):
        list(pool.run(failing(), [(11,), (13,)]))


def test_work_that_always_kills_its_worker_is_given_up(one_worker):
    def deadly(problem, seed):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkFailed, match=r"deadly\(7\) failed"):
        list(one_worker.run(deadly, [(7,)]))


def test_a_worker_that_cannot_be_restarted_ends_the_run(one_worker):
    (worker,) = one_worker._workers
    ray.kill(worker)
    with pytest.raises(WorkFailed, match="worker 0 was lost and cannot be restarted"):
        list(one_worker.run(failing(), [(1,)]))


def test_results_carry_the_index_of_their_call(two_workers):
    def twice(problem, number):
        return 2 * number

    results = dict(two_workers.run(twice, [(n,) for n in range(9)]))
    assert results == {n: 2 * n for n in range(9)}
    assert list(two_workers.run(twice, [])) == []


def test_a_shared_value_arrives(two_workers, tiny):
    def total(problem, tensors):
        return sum(t.sum().item() for t in tensors.values())

    for pool in (two_workers, LocalPool(tiny())):
        shared = pool.share({"a": torch.ones(3), "b": torch.ones(2)})
        assert list(pool.run(total, [(shared,)])) == [(0, 5.0)]


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
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(ValueError, match=r"10\.0\.0\.1:6379"):
        RayPool(config(1))
    assert seen["addresses"] == ("10.0.0.1:6379",)
    assert "num_cpus" not in seen  # which Ray refuses when joining
