"""Run the trials of a comparison on the pool, each once, whatever interrupts it."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console

from policylearn.arms import arm_policy, check_arms
from policylearn.artefact import load_policy
from policylearn.cluster.calls import Result
from policylearn.cluster.pool import Pool, open_pool
from policylearn.config import Config
from policylearn.evaluate import Trial, run_trial, summarise
from policylearn.policy import MaskingPolicy
from policylearn.preemption import preemptible
from policylearn.problem import Problem
from policylearn.provenance import origin
from policylearn.report.console import TaskProgress
from policylearn.run import Run


def compare(
    config: Config, problem: Problem, policies: dict[str, MaskingPolicy], pool: Pool, run: Run
) -> dict[str, Any]:
    """Run every arm on every seed that is not in trials.jsonl yet, and summarise.

    Args:
        config: `config.evaluate` names arms and seeds.
        problem: for the policies of arms that are no given policy.
        policies: arm → policy; other arms are built by name.
        pool: runs the trials.
        run: keeps them, so that stopping costs at most the trials under way.
    """
    wanted = [(arm, seed) for seed in range(config.evaluate.seeds) for arm in config.evaluate.arms]
    done = {(r["arm"], r["seed"]): Trial(**r) for r in run.trials() if (r["arm"], r["seed"]) in wanted}
    missing = [call for call in wanted if call not in done]
    arms = dict.fromkeys(arm for arm, _ in missing)
    shared = {arm: pool.share(policies.get(arm) or arm_policy(problem, arm)) for arm in arms}
    with TaskProgress("training fresh models", len(wanted), run.console) as progress:
        progress.advance(len(done))
        tickets = pool.submit(run_trial, [(shared[arm], arm, seed) for arm, seed in missing])
        for result in pool.results(tickets):
            trial: Trial = result.required(how_to_see(result, run))
            done[trial.arm, trial.seed] = trial
            run.save_trials([asdict(done[call]) for call in wanted if call in done])
            progress.advance(label=f"{trial.arm}, seed {trial.seed}: {trial.score:.3f}")
    return summarise([done[call] for call in wanted], config.task.metric)


def how_to_see(result: Result, run: Run) -> str:
    """The command that runs a failed trial again, in one process."""
    _, arm, seed = result.call.arguments
    return f"See it again, in one process: policylearn reproduce {run.address} --trial {shlex.quote(arm)} {seed}"


def evaluate_policies(
    config: Config,
    out: str | os.PathLike[str],
    console: Console,
    folders: Mapping[str, str | os.PathLike[str]],
    fresh: bool = False,
) -> dict[str, Any]:
    """The comparison by itself, for policies exported earlier.

    Args:
        config: the arms are `config.evaluate.arms` ("learned" only if a folder is given) and those of `folders`.
        out: run directory, a path or a URI.
        console: where progress is shown.
        folders: arm → exported policy, as `load_policy` takes it.
        fresh: forget what `out` holds.

    Returns:
        what stands in result.json.

    Raises:
        ValueError: bad input, a policy of another tokenizer, or `out` holds trials of another policy.
        WorkFailed, StorageFailed, Preempted: as in `policylearn.train.train`.
    """
    arms = [*(arm for arm in config.evaluate.arms if arm not in ("learned", *folders)), *folders]
    config = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"arms": arms})})
    check_arms(config, known=folders)
    problem, policies = Problem(config), {}
    for arm, folder in folders.items():
        artefact = load_policy(folder)
        artefact.check_tokenizer(problem.tokenizer)
        policies[arm] = artefact.policy
    run = Run.open(out, config, console, fresh)
    run.check_policies({arm: origin(folder, policies[arm]) for arm, folder in folders.items()})
    with run, preemptible():
        with open_pool(config, problem.data()) as pool, preemptible():
            result = compare(config, problem, policies, pool, run) | {"provenance": run.provenance()}
        run.finish(result)
    return result
