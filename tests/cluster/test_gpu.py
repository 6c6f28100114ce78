"""Ray workers on a GPU; skipped where there is none."""

import logging
import os
import signal

import pytest
import ray
import torch

from policylearn.cluster.pool import open_pool
from policylearn.report.console import RoundProgress

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.fixture(scope="module")
def cluster():
    ray.init("local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def reference(config, learned, tmp_path_factory):
    """What `check_bits` compares with: this process, on the GPU."""
    settings = config(1, "cluster.backend=local", "cluster.gpus=1")
    with open_pool(settings) as pool:
        return learned(settings, pool, tmp_path_factory.mktemp("local") / "run")


def device_and_process():
    def where(problem, number):
        return str(next(problem.fresh_model(0).parameters()).device), os.getpid()

    return where


def both(pool):
    """Devices and processes of two workers that are there."""
    while pool.alive() < 2:
        list(pool.results(pool.submit(device_and_process(), [(0,)])))
    return {result.required() for result in pool.results(pool.submit(device_and_process(), [(n,) for n in range(20)]))}


@pytest.mark.parametrize("killed", [False, True])
def test_workers_that_share_a_gpu_give_the_bits_of_this_process(cluster, config, check_bits, monkeypatch, killed):
    advance, calls = RoundProgress.advance, []

    def advance_and_kill(progress):
        calls.append(1)
        if killed and len(calls) == 1:  # some results of the first round are there, others under way
            for worker in pool._schedule.workers:
                os.kill(pool._places[worker].process, signal.SIGKILL)
        advance(progress)

    settings = config(2, "cluster.gpus=0.5", "cluster.retries=3")
    with open_pool(settings) as pool:
        places = both(pool)
        assert {device for device, _ in places} == {"cuda:0"} and len(places) == 2
        monkeypatch.setattr(RoundProgress, "advance", advance_and_kill)
        check_bits(settings, pool)
        assert bool(pool.lost) == killed
