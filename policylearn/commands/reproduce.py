"""One rollout or trial of a run once more, in this process: with its traceback if it raises, and to the same bits where
the device, the versions of torch and the data are those of the run; of data that have changed, that is said."""

import os

from policylearn.arms.arms import LEARNED, RANDOM, arm_policy
from policylearn.arms.course import course_of
from policylearn.artefact import load_policy
from policylearn.cluster.worker import Worker
from policylearn.config import Config
from policylearn.evaluation.identity import evidence_key, masks_key, trial_key
from policylearn.evaluation.trial import Trial, run_trial
from policylearn.inner.seeds import rollout_seeds
from policylearn.learning.rounds import baseline_rollout, rollout_with
from policylearn.learning.versions import add_version, recalled_versions, version_of
from policylearn.messages.quote import some
from policylearn.models.device import device_here, without_gpus
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import scorer_of
from policylearn.problems.problem import Problem
from policylearn.report.printing import new_console
from policylearn.runs.contents import changed_contents, contents, known_contents
from policylearn.runs.layout import CHECKPOINTS, OUTCOMES, POLICY, PRIOR
from policylearn.runs.provenance import load_again
from policylearn.runs.reading import config_for_its_files
from policylearn.runs.run import Run
from policylearn.runs.state import State, load_latest, select_prefix
from policylearn.storage.folder import Storage


def reproduce(
    folder: str | os.PathLike[str],
    rollout: int | None = None,
    baseline: int | None = None,
    trial: tuple[str, int] | None = None,
) -> dict[str, float] | Trial:
    """The one that is asked for: rollout and baseline by seed, a trial by arm and seed.

    Raises:
        ValueError: not one of the three is asked for; or as below.
    """
    if rollout is not None and baseline is None and trial is None:
        return reproduce_rollout(folder, rollout)
    if baseline is not None and rollout is None and trial is None:
        return reproduce_baseline(folder, baseline)
    if trial is not None and rollout is None and baseline is None:
        return reproduce_trial(folder, *trial)
    raise ValueError("reproduce takes one of --rollout SEED, --baseline SEED and --trial ARM SEED")


def reproduce_rollout(folder: str | os.PathLike[str], seed: int) -> dict[str, float]:
    """The metrics of a rollout of the round that the run is in.

    Raises:
        ValueError: the folder holds no run, or one without rounds, or the seed belongs to another round.
    """
    run = _with_rounds(folder)
    config, state = run.config, load_latest(run.storage / CHECKPOINTS)[0] or State()
    numbers = range(state.round, min(state.round + config.learn.lag + 1, config.learn.rounds))
    number = next((n for n in numbers if seed in rollout_seeds(config, n)), None)
    if number is None:
        raise ValueError(f"--rollout {seed} is no rollout of a round under way in {folder}: {_seeds(config, numbers)}")
    before = (*reversed(config.learn.stages), PRIOR)
    if (kept := next(filter(None, map(run.kept_policy, before)), None)) is None:
        raise ValueError(f"{folder} stopped before its first round: there is none to run again")
    problem, policy = _problem(run), kept[0]
    if config.learn.start is not None or OUTCOMES in config.learn.stages:
        policy.start_here()
    phi = select_prefix("phi.", state.tensors) or policy.learned()
    versions = add_version(recalled_versions(state.tensors), state.round, phi, config.learn.lag)
    return rollout_with(problem, policy, version_of(versions, number, config.learn.lag), seed).metrics


def reproduce_baseline(folder: str | os.PathLike[str], seed: int) -> dict[str, float]:
    """The metrics of a rollout of the random baseline, which is run before the first round.

    Raises:
        ValueError: the folder holds no run, or one without rounds, or the seed is not one of the first round.
    """
    run = _with_rounds(folder)
    config = run.config
    if seed not in rollout_seeds(config, 0):
        raise ValueError(f"--baseline {seed} is no rollout of the baseline of {folder}: {_seeds(config, range(1))}")
    problem = _problem(run)
    policy = arm_policy(problem, RANDOM)
    assert policy is not None
    return baseline_rollout(problem, policy, seed).metrics


def reproduce_trial(folder: str | os.PathLike[str], arm: str, seed: int) -> Trial:
    """The trial of a fresh model under an arm.

    Raises:
        ValueError: the folder holds no run, or none of this arm, or the policy given for it has changed.
    """
    run = _found(folder)
    if arm not in (arms := run.config.evaluate.arms):
        raise ValueError(f"--trial {arm} {seed}: {folder} has no such arm; it has {some(arms)}")
    problem = _problem(run)
    for kept in run.given_policies().values():
        problem.given.update(map(scorer_of, kept.get("scorers", ())))  # a comparison from before read nothing for them
    policy = _policy(problem, run, arm)
    _warn_of_another(run, problem, policy, arm, seed)
    return run_trial(problem, policy, arm, seed)


def _found(folder: str | os.PathLike[str]) -> Run:
    storage = Storage.at(folder)
    run = Run(storage, config_for_its_files(storage), new_console())
    if others := changed_contents(known_contents(storage), contents(run.config), run.config):
        run.warn(f"{some(others)}: changed since the run began, and this is computed with what is there now")
    return run


def _warn_of_another(run: Run, problem: Problem, policy: MaskingPolicy | None, arm: str, seed: int) -> None:
    """Where the trial is kept, and what it depends on is not what it was."""
    keys = {kept.get("key") for kept in run.trials() if (kept["arm"], kept["seed"]) == (arm, seed)} - {None, ""}
    masks = masks_key(policy, problem.domain, course_of(run.config, arm), run.config) if keys else ""
    if keys and trial_key(evidence_key(problem), masks, seed) not in keys:
        run.warn(f"{arm}, seed {seed}: data, model, settings or masks are others than those of the trial that is kept")


def _with_rounds(folder: str | os.PathLike[str]) -> Run:
    """The run there, of which rollouts may be asked for."""
    run = _found(folder)
    if "rounds" not in (stages := run.config.learn.stages):
        raise ValueError(f"{folder} has no rounds of rollouts, its learn.stages are {some(stages)}: ask for --trial")
    return run


def _problem(run: Run) -> Problem:
    """That of a worker, which need not have a GPU here: what raises there mostly raises on a CPU as well."""
    config = run.config
    if config.cluster.gpus and device_here(config.cluster) == "cpu":
        run.warn("the run has GPUs, and torch sees none here: this is computed on the CPU, to other last bits")
        config = without_gpus(config)
    return Worker(config).problem


def _policy(problem: Problem, run: Run, arm: str) -> MaskingPolicy | None:
    if kept := run.given_policies().get(arm):
        return load_again(kept)
    return load_policy(str(run.storage / POLICY)).policy if arm == LEARNED else arm_policy(problem, arm)


def _seeds(config: Config, numbers: range) -> str:
    seeds = [seed for number in numbers for seed in rollout_seeds(config, number)]
    return f"those are {seeds[0]} to {seeds[-1]}" if seeds else "all rounds are finished"
