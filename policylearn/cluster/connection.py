"""Joining a Ray cluster, or starting one on this machine."""

import logging
import os
from typing import Any

import ray

from policylearn.config import Config


def connect(config: Config) -> None:
    """Join the cluster named by the config or, as in a Ray job, by RAY_ADDRESS; else start a quiet one here.

    Raises:
        ValueError: no cluster answers at the address.
    """
    cluster = config.cluster
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    if address is None:
        ray.init("local", num_cpus=cluster.workers * cluster.threads, include_dashboard=False, **quiet)
        return
    try:
        ray.init(address, **quiet)
    except (ConnectionError, ValueError) as error:
        raise ValueError(f"cluster.address {address!r}: no Ray cluster answers there: {error}") from error
