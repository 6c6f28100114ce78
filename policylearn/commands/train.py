"""The whole job: learn in stages, export the policy, compare it on fresh models, report."""

import os
from contextlib import AbstractContextManager
from copy import deepcopy
from typing import Any

from rich.console import Console

from policylearn.adapt.downstream import check_layers
from policylearn.arms.arms import LEARNED, check_arms, initial_policy, more_labels
from policylearn.cluster.pool import LocalPool, Pool, open_pool
from policylearn.commands.opening import problem_of_run
from policylearn.commands.present import export_policy, report_run
from policylearn.config import Config
from policylearn.evaluation.compare import build_arms, compare
from policylearn.learning.learn import learn
from policylearn.learning.lineage import exported, kept_round, lineage, measured
from policylearn.learning.windows import check_windows
from policylearn.models.device import without_gpus
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.report.printing import print_line
from policylearn.report.verdict import signal
from policylearn.runs.preemption import preemptible
from policylearn.runs.run import Run
from policylearn.runs.trackers import check_trackers


def train(
    config: Config, out: str | os.PathLike[str], console: Console, fresh: bool = False, command: str = ""
) -> dict[str, Any]:
    """The whole job, from texts to report; continues where an earlier call on the same folder stopped.

    Args:
        config: the experiment.
        out: the run directory: a path, or a URI such as s3://bucket/run.
        console: where progress is shown.
        fresh: forget what `out` holds, when learning or trials begin.
        command: how the user called it, for the report.

    Returns:
        what stands in result.json.

    Raises:
        ValueError: bad input, with what to do.
        WorkFailed: a rollout failed; the rounds before it are kept.
        StorageFailed: `out` cannot be read, or could not be written to the end.
        Preempted: on SIGTERM; the rounds before the one under way are kept.
    """
    check_arms(config)
    check_windows(config)
    check_trackers(config, str(out))
    run = Run.open(out, config, console, fresh)
    if run.finished:
        return run.result()
    problem = problem_of_run(run)
    check_layers(problem)
    with run, preemptible():
        return _train(config, run, problem, command)


def _train(config: Config, run: Run, problem: Problem, command: str) -> dict[str, Any]:
    policy, known = run.prior(lambda: _first_policy(problem), problem.own_tokenizer, lambda: measured(problem))
    before = deepcopy(policy)
    if _learns_alone(config):
        no_work = LocalPool(without_gpus(config))  # the learner has the problem of this process
        state, credited = learn(config, problem, policy, no_work, run)
    with _pool(config, problem) as pool, preemptible():
        if not _learns_alone(config):
            state, credited = learn(config, problem, policy, pool, run)
        if state.history and "rounds" in config.learn.stages:
            print_line(run.console, signal(state.history).sentence)
        if credited:
            policy.start = (before,)  # for card and page, which show what has come of the prior
        facts = lineage(config, state, known, credited)
        for name, said in facts.items():
            print_line(run.console, f"{name:9} {said}")
        if config.evaluate.seeds:
            run.remark(more_labels(config, len(problem.labelled("train"))))
        export_policy(run, problem, policy, state, facts)
        result = compare(config, problem, {LEARNED: policy}, pool, run)
    what = exported(config, state, known, credited)
    result |= {"best_round": kept_round(config, state, credited), "exported": what, "learned": what == "learned"}
    result |= {"provenance": run.provenance(command) | facts}
    report_run(run, problem, policy, state, result, facts)
    run.finish(result)
    return result


def _first_policy(problem: Problem) -> MaskingPolicy:
    """The policy before learning. When a run begins, arms are built as well, see `build_arms`."""
    policy = initial_policy(problem)
    if problem.config.evaluate.seeds:
        build_arms(problem, {LEARNED: policy})
    return policy


def _learns_alone(config: Config) -> bool:
    """Whether learning is all done in this process, while workers would only wait."""
    return config.learn.stages == ["supervised"]


def _pool(config: Config, problem: Problem) -> AbstractContextManager[Pool]:
    """The pool of the config; one that starts nothing where there are neither rollouts nor trials to be run."""
    idle = _learns_alone(config) and not config.evaluate.seeds
    cluster = config.cluster.model_copy(update={"backend": "local"} if idle else {})
    return open_pool(config.model_copy(update={"cluster": cluster}), problem.data(), problem.tell, problem.watch)
