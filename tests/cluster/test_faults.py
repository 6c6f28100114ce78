"""Real faults on real Ray nodes of one machine: the bits of an undisturbed run."""

import os
import time

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from policylearn.cluster.calls import WorkFailed
from policylearn.cluster.pool import open_pool
from policylearn.report.console import RoundProgress

SECONDS = 60

pytestmark = pytest.mark.long


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


def test_nodes_come_and_go_and_change_no_bit(cluster, node, config, check_bits, monkeypatch):
    """Each time some results of a round are there, and others under way."""
    advance, calls = RoundProgress.advance, []

    def advance_and_change(progress):
        calls.append(1)
        if len(calls) == 1:
            cluster.remove_node(first)
        if len(calls) == 4:
            cluster.remove_node(second)
            node(1)
        advance(progress)

    monkeypatch.setattr(RoundProgress, "advance", advance_and_change)
    settings = config(3, "cluster.retries=0")  # no work is to blame for a node that goes, so not even that ends it
    first = node(1)
    with open_pool(settings) as pool:
        until(lambda: pool.alive() == 1, pool, a_moment())  # two find no room
        second = node(2)
        until(lambda: pool.alive() == 3, pool, a_moment())  # and join when there is
        check_bits(settings, pool)
        until(lambda: pool.alive() == 1, pool, a_moment())
        assert pool.lost == 3


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
