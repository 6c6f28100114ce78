"""A worker that runs out of memory."""

import psutil
import pytest
import ray
import torch

from policylearn.cluster.pool import open_pool

pytestmark = pytest.mark.long


@pytest.fixture
def full_machine():
    """A cluster on a machine that Ray takes for full a little above what is used now."""
    used = psutil.virtual_memory().percent / 100
    system = {"memory_usage_threshold": min(0.95, used + 0.1), "memory_monitor_refresh_ms": 100}
    ray.init("local", num_cpus=1, _system_config=system, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_a_worker_out_of_memory_is_replaced_and_its_work_done(full_machine, tiny, tmp_path):
    """Ray's own memory monitor kills it, as on a machine that runs full."""

    def greedy_once(problem, seed):
        if not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            held = []
            while True:
                held.append(torch.ones(2**26))  # a quarter of a GiB
        return seed

    with open_pool(tiny("cluster.backend=ray", "cluster.workers=1", "cluster.retries=3")) as pool:
        (result,) = pool.results(pool.submit(greedy_once, [(3,)]))
        assert result.required() == 3
        assert pool.lost >= 1
