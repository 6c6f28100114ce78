"""Joining a Ray cluster, or starting one on this machine, which no other machine can reach."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import ray
from ray._private import ray_constants

from policylearn.config import Config


def connect(config: Config) -> None:
    """Join the cluster named by the config or, as in a Ray job, by RAY_ADDRESS; else start a quiet one here.

    Whatever listens in a cluster started here listens on the loopback interface.

    Raises:
        ValueError: no cluster answers at the address.
    """
    cluster = config.cluster
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    if address is None:
        with _on_loopback():
            ray.init("local", num_cpus=cluster.workers * cluster.threads, include_dashboard=False, **quiet)
        return
    try:
        ray.init(address, **quiet)
    except (ConnectionError, ValueError) as error:
        raise ValueError(f"cluster.address {address!r}: no Ray cluster answers there: {error}") from error


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
