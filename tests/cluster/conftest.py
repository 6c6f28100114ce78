"""A run of two small rounds in this process, and the check that another pool gives its bits."""

import io

import pytest
import torch
from rich.console import Console

from policylearn.arms.arms import initial_policy
from policylearn.cluster.pool import LocalPool, open_pool
from policylearn.learning.learn import learn
from policylearn.problems.of_config import problem_of
from policylearn.runs.run import Run
from policylearn.runs.state import load_latest

ROUNDS = ("learn.rounds=2", "learn.rollouts=3", "inner.steps=5")
MEASURED = ("seconds", "workers", "lost")


def learned_bits(config, pool, folder) -> tuple[dict, list]:
    """φ and Adam's moments after the last round, and the history without what a clock measured."""
    run, problem = Run.open(folder, config, Console(file=io.StringIO())), problem_of(config)
    learn(config, problem, initial_policy(problem), pool, run)
    state, _ = load_latest(folder / "checkpoints")
    return state.tensors, [{k: v for k, v in line.items() if k not in MEASURED} for line in state.history]


@pytest.fixture(scope="session")
def config(tiny):
    """`config(workers, "cluster.retries=0", …)`: two rounds of three rollouts on Ray."""
    return lambda workers, *more: tiny(
        *ROUNDS, "cluster.backend=ray", "cluster.retries=1", f"cluster.workers={workers}", *more
    )


@pytest.fixture(scope="session")
def learned():
    """`learned(config, pool, folder)`: see `learned_bits`."""
    return learned_bits


@pytest.fixture(scope="session")
def reference(tiny, tmp_path_factory):
    settings = tiny(*ROUNDS)
    with open_pool(settings) as pool:
        assert isinstance(pool, LocalPool)
        return learned_bits(settings, pool, tmp_path_factory.mktemp("local") / "run")


@pytest.fixture
def check_bits(reference, tmp_path):
    """`check_bits(config, pool)`: learn with the pool, and compare every bit."""

    def check(settings, pool) -> None:
        tensors, history = learned_bits(settings, pool, tmp_path / "run")
        assert tensors.keys() == reference[0].keys()
        assert all(torch.equal(tensors[name], reference[0][name]) for name in tensors)
        assert history == reference[1]

    return check
