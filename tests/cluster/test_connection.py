"""A cluster started here is closed to other machines; what the pool does stands in its metrics."""

import contextlib
import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest
import ray
from ray._private import ray_constants

from policylearn.cluster.connection import connect
from policylearn.cluster.pool import open_pool

Socket = tuple[int, str, int]
"""Process, address and port of one that accepts connections."""


def sockets() -> set[Socket]:
    """Of this process and all it has started, Ray's processes among them."""
    here, found = psutil.Process(), set()
    for process in [here, *here.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # what an earlier test has started may be about to end
            listening = [s for s in process.net_connections("inet") if s.status == psutil.CONN_LISTEN]
            found |= {(process.pid, s.laddr.ip.removeprefix("::ffff:"), s.laddr.port) for s in listening}
    return found


@pytest.fixture(scope="module")
def cluster(tiny):
    """As a run starts one, but for the interval of its metrics; what was there before it is none of its doing."""
    before = sockets()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "500")
        connect(tiny("cluster.workers=2"))
    yield before
    ray.shutdown()


def listening(before: set[Socket]) -> set[str]:
    """Addresses of the sockets that were opened since."""
    return {address for _, address, _ in sockets() - before}


def beyond_loopback(before: set[Socket]) -> set[str]:
    return {address for address in listening(before) if not ipaddress.ip_address(address).is_loopback}


@pytest.fixture
def left_over():
    """As another test may leave it: a process that still listens."""
    program = (
        "import socket, time; s = socket.create_server(('0.0.0.0', 0)); print('there', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    process.stdout.readline()
    yield sockets()
    process.kill()
    process.wait()


def test_nothing_listens_beyond_loopback(cluster):
    @ray.remote
    def address():
        return ray.util.get_node_ip_address()

    assert ray.get(address.remote()) == "127.0.0.1"
    names = {process.name() for process in psutil.Process().children(recursive=True)}
    assert {"gcs_server", "raylet"} <= names
    assert listening(cluster) == {"127.0.0.1"}


def test_what_listens_beyond_loopback_would_be_seen(cluster):
    with socket.create_server(("0.0.0.0", 0)):
        assert beyond_loopback(cluster) == {"0.0.0.0"}


def test_what_others_have_left_is_not_taken_for_it(left_over):
    assert "0.0.0.0" in {address for _, address, _ in left_over}
    assert beyond_loopback(left_over) == set()
    with socket.create_server(("0.0.0.0", 0)):
        assert beyond_loopback(left_over) == {"0.0.0.0"}


def test_clusters_of_several_machines_may_be_joined_afterwards(cluster):
    assert ray_constants.ENABLE_RAY_CLUSTER
    assert ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR not in os.environ


def metrics() -> dict[str, float]:
    """Ours, by name, and outcome if there is one, as Prometheus reads them from the node."""
    port = ray.nodes()[0]["MetricsExportPort"]
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
    found: dict[str, float] = {}
    for name, labels, value in re.findall(r"^ray_(policylearn_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        assert 'run="tiny"' in labels
        outcome = re.search(r'outcome="([^"]*)"', labels)
        found[f"{name} {outcome[1]}" if outcome else name] = float(value)
    return found


@pytest.mark.long
def test_rays_metrics_say_what_the_pool_did(cluster, tiny):
    def work(problem, number):
        if number == 2:
            raise FloatingPointError("nan")
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with open_pool(tiny("cluster.backend=ray", "cluster.workers=1", "cluster.retries=1")) as pool:
        assert len(list(pool.results(pool.submit(work, [(n,) for n in range(5)])))) == 5
        pool.count_round()
        pool.count_round()
        expected = {
            "policylearn_rounds_total": 2.0,
            "policylearn_results_total ok": 3.0,
            "policylearn_results_total not finite": 1.0,
            "policylearn_results_total lost": 1.0,
            "policylearn_lost_workers_total": float(pool.lost),
            "policylearn_workers": 1.0,
        }
        assert pool.lost >= 2  # a busy machine may cost one more
        end = time.monotonic() + 60
        while metrics() != expected and time.monotonic() < end:
            time.sleep(0.5)
        assert metrics() == expected
