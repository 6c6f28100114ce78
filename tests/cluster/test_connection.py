"""A cluster started here is closed to other machines, and shows Ray what the pool does."""

import ipaddress
import os
import socket

import psutil
import pytest
import ray
from ray._private import ray_constants

from policylearn.cluster.connection import connect


def listening() -> set[str]:
    """Addresses that this process and all it has started, Ray's processes among them, accept connections on."""
    here = psutil.Process()
    sockets = [s for p in [here, *here.children(recursive=True)] for s in p.net_connections("inet")]
    return {s.laddr.ip.removeprefix("::ffff:") for s in sockets if s.status == psutil.CONN_LISTEN}


def beyond_loopback() -> set[str]:
    return {address for address in listening() if not ipaddress.ip_address(address).is_loopback}


@pytest.fixture(scope="module")
def cluster(tiny):
    """As a run starts one, with one worker process."""
    connect(tiny("cluster.workers=2"))
    yield
    ray.shutdown()


def test_nothing_listens_beyond_loopback(cluster):
    @ray.remote
    def address():
        return ray.util.get_node_ip_address()

    assert ray.get(address.remote()) == "127.0.0.1"
    names = {process.name() for process in psutil.Process().children(recursive=True)}
    assert {"gcs_server", "raylet"} <= names
    assert listening() == {"127.0.0.1"}


def test_what_listens_beyond_loopback_would_be_seen(cluster):
    with socket.create_server(("0.0.0.0", 0)):
        assert beyond_loopback() == {"0.0.0.0"}


def test_clusters_of_several_machines_may_be_joined_afterwards(cluster):
    assert ray_constants.ENABLE_RAY_CLUSTER
    assert ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR not in os.environ
