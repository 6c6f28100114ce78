"""One rollout or trial of a run once more, in this process: the same bits, with its traceback if it raises."""

import os

from rich.console import Console

from policylearn.arms import LEARNED, arm_policy
from policylearn.artefact import load_policy
from policylearn.cluster.checkpoint import OuterState, load_latest
from policylearn.cluster.pool import Worker
from policylearn.config import Config
from policylearn.evaluate import Trial, run_trial
from policylearn.learn import rollout_seeds, rollout_with
from policylearn.outer import add_version, recalled_versions, under, version_of
from policylearn.policy import MaskingPolicy
from policylearn.problem import Problem
from policylearn.run import Run
from policylearn.storage import Storage


def reproduce_rollout(folder: str | os.PathLike[str], seed: int) -> dict[str, float]:
    """The metrics of a rollout of the round that the run is in.

    Raises:
        ValueError: the folder holds no run, or the seed belongs to another round.
    """
    run = _found(folder)
    config, state = run.config, load_latest(run.storage / "checkpoints")[0] or OuterState()
    numbers = range(state.round, min(state.round + config.learn.lag + 1, config.learn.rounds))
    number = next((n for n in numbers if seed in rollout_seeds(config, n)), None)
    if number is None:
        raise ValueError(f"--rollout {seed} is no rollout of a round under way in {folder}: {_seeds(config, numbers)}")
    problem, policy = Worker(config).problem, load_policy(str(run.storage / "prior")).policy
    phi = under("phi.", state.tensors) or policy.learned()
    versions = add_version(recalled_versions(state.tensors), state.round, phi, config.learn.lag)
    return rollout_with(problem, policy, version_of(versions, number, config.learn.lag), seed).metrics


def reproduce_trial(folder: str | os.PathLike[str], arm: str, seed: int) -> Trial:
    """The trial of a fresh model under an arm.

    Raises:
        ValueError: the folder holds no run, or the arm is not known.
    """
    run = _found(folder)
    problem = Worker(run.config).problem
    return run_trial(problem, _policy(problem, run, arm), arm, seed)


def _found(folder: str | os.PathLike[str]) -> Run:
    storage = Storage.at(folder)
    if not storage.is_file("config.json"):
        raise ValueError(f"{folder} holds no run of policylearn")
    return Run(storage, Config.model_validate_json(storage.read("config.json")), Console())


def _policy(problem: Problem, run: Run, arm: str) -> MaskingPolicy | None:
    return load_policy(str(run.storage / "policy")).policy if arm == LEARNED else arm_policy(problem, arm)


def _seeds(config: Config, numbers: range) -> str:
    seeds = [seed for number in numbers for seed in rollout_seeds(config, number)]
    return f"those are {seeds[0]} to {seeds[-1]}" if seeds else "all rounds are finished"
