"""Addresses of Ray clusters: what is wrong with one is known soon, and in one line."""

import http.server
import os
import socket
import threading
import time
from contextlib import nullcontext

import pytest
import ray
import torch

from policylearn.cluster.connection import check_can_have, connect
from policylearn.cluster.ray_pool import RayPool
from policylearn.models.device import add_in_one_order


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "no-such-host.invalid:6379"])
def test_where_nobody_listens_that_is_known_at_once(tiny, monkeypatch, address):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = address.format(port=taken.getsockname()[1])  # free as soon as this ends
    monkeypatch.setenv("RAY_ADDRESS", address)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"^RAY_ADDRESS '.*': no Ray cluster answers there: .*") as error:
        connect(tiny())
    assert time.monotonic() - began < 15
    assert len(str(error.value).splitlines()) == 1


def test_what_listens_and_is_no_cluster_is_given_up_within_15_seconds(tiny, monkeypatch):
    answers = http.server.ThreadingHTTPServer(("", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=answers.serve_forever, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"^cluster\.address '.*': no Ray cluster answers there: .*"):
        connect(tiny(f"cluster.address=127.0.0.1:{answers.server_port}"))
    assert time.monotonic() - began < 15
    answers.shutdown()
    answers.server_close()


def test_the_address_of_a_dashboard_is_known_for_one(tiny, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(ValueError, match=r"dashboard, .*: set cluster\.address=127\.0\.0\.1:6379, .* or unset"):
        connect(tiny())


def test_an_address_without_a_port_is_known_before_anything_is_read(tiny):
    with pytest.raises(ValueError, match=r'cluster\.address.*names no port: write "head:6379"'):
        tiny("cluster.address=head")
    assert tiny("cluster.address=ray://head:10001").cluster.address == "ray://head:10001"


@pytest.mark.parametrize("address", ["", "local"])
def test_a_variable_that_is_set_but_empty_names_no_cluster(tiny, monkeypatch, address):
    seen = {}

    def init(*addresses, **settings):
        seen.update(addresses=addresses, **settings)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setenv("RAY_ADDRESS", address)
    connect(tiny())
    assert seen["addresses"] == ("local",)
    assert seen["num_cpus"] == 1


def test_a_cluster_started_here_that_can_never_have_what_workers_ask_for_is_told_and_ended(tiny):
    with pytest.raises(ValueError, match=r"cluster\.resources\.slot is 1, and this machine has 0: set it to"):
        RayPool(tiny("cluster.resources.slot=1"))
    assert not ray.is_initialized()


NODE = {"Resources": {"CPU": 2.0, "GPU": 1.0}, "Labels": {"ray.io/accelerator-type": "H200"}}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("cluster.gpus=2", r"cluster\.gpus is 2, and this machine has 1: .*cluster\.address"),
        ('cluster.labels={tier="spot"}', r"cluster\.labels\.tier is 'spot', and this machine has no such label"),
        ("cluster.gpus=0.5", ""),
        ('cluster.labels={tier="!spot"}', ""),
        ('cluster.labels={"ray.io/accelerator-type"="H200"}', ""),
    ],
)
def test_what_workers_ask_for_is_held_against_a_machine_that_stays_alone(tiny, monkeypatch, asked, said):
    monkeypatch.setattr(ray, "nodes", lambda: [NODE])
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ValueError, match=said) if said else nullcontext():
        check_can_have(tiny(asked).cluster)
    check_can_have(tiny(asked, "cluster.address=auto").cluster)  # where others may join


def test_so_it_is_with_every_variable_that_is_read(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *a, **k: None)
    add_in_one_order()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
