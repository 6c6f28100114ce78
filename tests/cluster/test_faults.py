"""Real faults on real Ray nodes of one machine: the bits of an undisturbed run."""

import os
import signal
import time

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from policylearn.cluster.calls import WorkFailed
from policylearn.cluster.pool import open_pool
from policylearn.report.console import RoundProgress

SECONDS = 60


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs, so that all workers are on nodes that may go.

    Where this process had a cluster on the loopback interface before, as a run starts one, Ray cancels every actor of
    the next cluster that it joins; a session of another kind in between clears whatever that is.
    """
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.get(ray.remote(lambda: os.getpid()).remote())
    ray.shutdown()
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    ray.init(made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def node(cluster):
    """Adds nodes; whatever is left of them goes at the end."""
    added = []

    def add(cpus=1, **settings):
        added.append(cluster.add_node(num_cpus=cpus, **settings))
        return added[-1]

    yield add
    for each in added:
        if each in cluster.list_all_nodes():
            cluster.remove_node(each)


def until(condition, pool, work):
    """Keep the pool busy until something has come to pass."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        list(pool.results(pool.submit(work, [()])))


def a_moment():
    def moment(problem):
        time.sleep(0.05)

    return moment


def slow_square():
    def square(problem, number):
        time.sleep(0.3)
        return number * number

    return square


def squares(results):
    return sorted(result.required() for result in results)


def test_nodes_come_and_go_and_nothing_is_lost(cluster, node, tiny):
    settings = tiny("cluster.backend=ray", "cluster.workers=3", "cluster.retries=0")
    first = node()
    with open_pool(settings) as pool:
        until(lambda: pool.alive() == 1, pool, a_moment())  # two find no room
        second = node(2)
        until(lambda: pool.alive() == 3, pool, a_moment())  # and join when there is
        results = pool.results(pool.submit(slow_square(), [(n,) for n in range(12)]))
        found = [next(results) for _ in range(2)]
        cluster.remove_node(first)  # no work is to blame for that, so not even retries = 0 ends it
        found += results
        assert squares(found) == [n * n for n in range(12)]
        cluster.remove_node(second)
        node(1)
        until(lambda: pool.alive() == 1, pool, a_moment())
        assert pool.lost == 3


def test_a_node_removed_and_another_added_in_mid_round_change_no_bit(cluster, node, config, check_bits, monkeypatch):
    advance, calls = RoundProgress.advance, []

    def advance_and_change(progress):
        calls.append(1)
        if len(calls) == 1:  # some results of the first round are there, others under way
            cluster.remove_node(nodes.pop())
            node(1)
        advance(progress)

    nodes = [node(1)]
    monkeypatch.setattr(RoundProgress, "advance", advance_and_change)
    settings = config(2, "cluster.retries=0")
    with open_pool(settings) as pool:
        check_bits(settings, pool)
        assert pool.lost == 1


def test_four_workers_give_the_bits_of_one(node, config, check_bits):
    node(4)
    settings = config(4)
    with open_pool(settings) as pool:
        until(lambda: pool.alive() == 4, pool, a_moment())
        check_bits(settings, pool)


def test_workers_go_where_resources_and_labels_say(node, tiny):
    here = node(1, labels={"tier": "spot"}, resources={"slot": 1})
    node(2)
    settings = tiny(
        "cluster.backend=ray", "cluster.workers=2", 'cluster.labels={tier="spot"}', "cluster.resources.slot=1"
    )

    def where(problem):
        return ray.get_runtime_context().get_node_id()

    with open_pool(settings) as pool:
        places = {result.required() for result in pool.results(pool.submit(where, [()] * 4))}
        assert places == {here.node_id}
        assert pool.alive() == 1  # the other finds no second slot


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows what is said where there is no GPU")
def test_workers_with_gpus_go_where_ray_sees_some_and_say_so_if_torch_sees_none(node, config):
    node(1)
    node(1, num_gpus=1)
    settings = config(1, "cluster.gpus=0.5", "cluster.retries=0")
    with open_pool(settings) as pool, pytest.raises(WorkFailed) as failed:
        list(pool.results(pool.submit(a_moment(), [()])))
    reason = "cluster.gpus is 0.5, and torch sees no GPU here; set it to 0 for the CPU"
    assert str(failed.value) == f"workers cannot be started: ValueError: {reason}"


def test_a_worker_that_is_stopped_for_good_is_given_up_at_the_deadline(node, tiny, tmp_path):
    """SIGSTOP: the process is there and answers nothing, as on a machine that hangs."""

    def stop_once(problem, path):
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGSTOP)
        return 1

    node(1)
    with open_pool(tiny("cluster.backend=ray", "cluster.workers=1", "cluster.deadline=3")) as pool:
        (result,) = pool.results(pool.submit(stop_once, [(str(tmp_path / "once"),)]))
        assert result.required() == 1
        assert pool.lost == 1
