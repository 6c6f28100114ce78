"""Joining a Ray cluster, or starting one on this machine, which no other machine can reach."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import ray
from ray._private import ray_constants
from ray._private.services import canonicalize_bootstrap_address, parse_address
from ray.exceptions import RayError

from policylearn.config import ClusterConfig, Config

log = logging.getLogger(__name__)

HERE = "local"
"""An address, to Ray: a cluster of one's own."""
CONNECT, ANSWER = 4.0, 8.0
"""Seconds in which the machine at an address must accept a connection, and what listens there say that it is a cluster.
`ray.init` would try for two minutes, and then end this process: therefore another asks first."""
ASK = """
import sys
from ray._raylet import GcsClient
print("ready", flush=True)
GcsClient(address=sys.argv[1])
"""


def connect(config: Config) -> None:
    """Join the cluster named by the config or, as in a Ray job, by RAY_ADDRESS; else start a quiet one here.

    Whatever listens in a cluster started here listens on the loopback interface.

    Raises:
        ValueError: no cluster answers at the address, within 15 seconds, or it refuses our token.
    """
    cluster = config.cluster
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address, key = cluster.named_address
    if address in ("", HERE):
        with _on_loopback():
            ray.init(HERE, num_cpus=cluster.workers * cluster.threads, include_dashboard=False, **quiet)
        return
    _check_address(address, key)
    try:
        ray.init(address, **quiet)
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:  # fault boundary
        raise ValueError(f"{key} {address!r}: no Ray cluster answers there: {_brief(str(error))}") from error


def check_joined(cluster: ClusterConfig) -> None:
    """That a cluster which this process has joined already, and which it can leave for no other, is the one named.
    Where one of its own is asked for, the log says that there is none.

    Raises:
        ValueError: the config, or RAY_ADDRESS, names another.
    """
    address, key = cluster.named_address
    here = ray.get_runtime_context().gcs_address
    if address == HERE:
        log.warning(f"{key} is {HERE!r}, and this process has joined the Ray cluster at {here}: work is done there")
    if ":" not in address or "://" in address:
        return  # "auto", or a proxy, which says nothing of what is behind it
    if here not in _names_of(address):
        raise ValueError(
            f"{key} is {address!r}, and this process has joined the Ray cluster at {here}: unset it to work there, or "
            "call ray.shutdown() first"
        )


def _names_of(address: str) -> set[str]:
    """An address as it is given, as Ray takes it, and with the number of its machine."""
    host, port = parse_address(address)
    try:
        number = f"{socket.gethostbyname(host)}:{port}"
    except OSError:  # fault boundary: nobody knows it
        number = address
    return {address, canonicalize_bootstrap_address(address) or address, number}


def check_can_have(cluster: ClusterConfig) -> None:
    """That a cluster which has just been started here has what one worker asks for: no other machine will join it.

    Raises:
        ValueError: naming the setting; nothing is said of a cluster that was joined, where there may be more in time.
    """
    if cluster.named_address[0] not in ("", HERE):
        return
    (node,) = ray.nodes()
    asked = {"cluster.gpus": ("GPU", cluster.gpus)}
    asked |= {f"cluster.resources.{name}": (name, count) for name, count in cluster.resources.items()}
    elsewhere = "or name a cluster that has it, cluster.address"
    for key, (name, count) in asked.items():
        if count > (most := node["Resources"].get(name, 0.0)):
            raise ValueError(f"{key} is {count:g}, and this machine has {most:g}: set it to that, {elsewhere}")
    for name, value in cluster.labels.items():
        if name not in node["Labels"] and not value.startswith("!"):
            raise ValueError(
                f"cluster.labels.{name} is {value!r}, and this machine has no such label: leave it out, {elsewhere}"
            )


def _check_address(address: str, key: str) -> None:
    """Raises ValueError at once where an address cannot be that of a cluster, or nobody is there."""
    if address.startswith(("http://", "https://")):
        host = address.split("://")[1].split("/")[0].rsplit(":", 1)[0]
        raise ValueError(
            f"{key} {address!r} is the address of a dashboard, for `ray job submit`: set cluster.address={host}:6379, "
            "or wherever its head listens, to join that cluster, or unset RAY_ADDRESS to start one here"
        )
    plain = address.rpartition("://")[2]
    if ":" not in plain:
        return  # such as "auto", which Ray looks up on this machine
    try:
        there = canonicalize_bootstrap_address(plain) or plain  # what Ray takes 127.0.0.1 for
        host, port = parse_address(there)
        socket.create_connection((host, int(port)), timeout=CONNECT).close()
    except (OSError, ValueError) as error:  # fault boundary
        raise ValueError(f"{key} {address!r}: no Ray cluster answers there: {error}") from error
    if "://" not in address and (refusal := _ask(there)):
        token = "uthenticat" in refusal
        what = "the Ray cluster there asks for a token" if token else "no Ray cluster answers there"
        mend = "; set RAY_AUTH_MODE=token, if it is a cluster of yours" if token and not sends_token() else ""
        raise ValueError(f"{key} {address!r}: {what}: {refusal}{mend}")


def sends_token() -> bool:
    """Whether this process is set to prove itself to clusters."""
    return os.environ.get("RAY_AUTH_MODE", "") == "token"


def _ask(address: str) -> str:
    """Why what listens at an address is no cluster that we may join; nothing where it is one."""
    command = [sys.executable, "-c", ASK, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # Ray is imported, which may take long on a busy machine
        try:
            _, said = process.communicate(timeout=ANSWER)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"what listens there has not said within {ANSWER:g} s that it is one"
    return _brief(said) if process.returncode else ""


def _brief(said: str) -> str:
    """The last line of what Ray says, and not a long one; of a token that is refused, its cause alone."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return (
        lines[-1].partition(" Ensure that")[0].removeprefix("ray.exceptions.")[:300] if lines else "no reason is given"
    )


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Have Ray give itself the address 127.0.0.1, and nothing but that to listen on.

    It does so on macOS and Windows, where clusters of several machines are off, and anywhere if they are turned off
    by this variable. An address given to `ray.init` is of no use: Ray replaces 127.0.0.1 by that of the machine. The
    variable is for the processes that Ray starts; this one has read it already, when ray was imported.
    """
    name = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    with patch.dict(os.environ, {name: "0"}), patch.object(ray_constants, "ENABLE_RAY_CLUSTER", False):
        yield
