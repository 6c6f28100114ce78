"""Run the trials of a comparison on the pool, each once, whatever interrupts it."""

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from functools import partial
from typing import Any

from rich.console import Console

from policylearn.adapt.downstream import check_layers
from policylearn.arms.arms import (
    LEARNED,
    NONE,
    RANDOM,
    arm_policy,
    check_arms,
    given_policy,
    more_labels,
    other_budgets,
)
from policylearn.arms.course import COURSES, course_of
from policylearn.cluster.calls import Result
from policylearn.cluster.pool import Pool, open_pool
from policylearn.config import Config, EvaluateConfig, parts_of
from policylearn.evaluation.identity import OF_A_TRIAL, evidence_key, masks_key, trial_key
from policylearn.evaluation.plan import estimate, plan_line, too_late, workers_of
from policylearn.evaluation.pooling import pool_results
from policylearn.evaluation.summary import summarise
from policylearn.evaluation.trial import Trial, run_trial
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.models.device import be_the_worker, device_here
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.report.console_watch import ConsoleWatch
from policylearn.report.printing import print_line
from policylearn.report.progress import TaskProgress
from policylearn.report.uses import use_in_words
from policylearn.runs.code import NOW, code_of_parts
from policylearn.runs.layout import REPORT
from policylearn.runs.preemption import preemptible
from policylearn.runs.provenance import origin
from policylearn.runs.run import Run
from policylearn.storage.folder import Storage

Call = tuple[str, int]
"""Arm and seed of a trial."""


def compare(
    config: Config, problem: Problem, policies: Mapping[str, MaskingPolicy], pool: Pool, run: Run
) -> dict[str, Any]:
    """Run every arm on every seed that is not in trials.jsonl yet, and summarise.

    Args:
        config: `config.evaluate` names arms and seeds.
        problem: for the policies of arms that are no given policy.
        policies: arm → policy; other arms are built by name.
        pool: runs the trials.
        run: keeps them, so that stopping costs at most the trials under way.

    Raises:
        ValueError: an arm is not known.
        WorkFailed: a trial failed wherever it was tried; those before it are kept.
    """
    if not (seeds := config.evaluate.paired):
        return summarise([], problem.task.metric)
    arms = build_arms(problem, policies)
    wanted, others = _wanted(problem, arms, seeds), other_budgets(config, policies)
    known = {record["key"]: record for record in run.trials() if record.get("key")}
    new = set(wanted.values()) - known.keys()
    if known and new and _know_earlier(known, wanted, problem, arms, seeds):
        run.save_trials(list(known.values()))
    done = {call: _named(known[key], call[0]) for call, key in wanted.items() if key in known}
    missing = {call: key for call, key in wanted.items() if call not in done}
    left, planned = estimate(problem, arms, [arm for arm, _ in missing], [*done.values()]), workers_of(config.cluster)
    workers = min(planned, pool.alive() or planned)  # a cluster may have room for fewer, or for none as yet
    _say_plan(config, problem, run, plan_line(config.evaluate, len(wanted), left, workers), others)
    if late := too_late(config.cluster, left):
        run.warn(late)
    shared = {arm: pool.share(arms[arm]) for arm in dict.fromkeys(arm for arm, _ in missing)}
    with TaskProgress("training fresh models", len(wanted), run.console, done=len(done), workers=workers) as progress:
        done |= _run_missing(missing, shared, known, pool, run, progress)
    summary = summarise([done[call] for call in wanted], problem.task.metric, others)
    for arm, found in summary["arms"].items():
        if course := course_of(config, arm).key:
            found["course"] = course.strip()
    for arm in (arm for arm, found in summary["arms"].items() if not found["equal_budget"] and arm not in others):
        run.warn(f"{arm} masked another number of tokens than the other arms: it is marked as of another budget")
    return summary


def build_arms(problem: Problem, policies: Mapping[str, MaskingPolicy]) -> dict[str, MaskingPolicy | None]:
    """The policies of all arms, those that were given and the others. Before anything is forgotten or learned it is
    asked for as well: an arm that cannot be built must not cost that. ValueError: as `arm_policy`."""
    return {arm: policies.get(arm) or arm_policy(problem, arm) for arm in problem.config.evaluate.arms}


def _wanted(
    problem: Problem, arms: Mapping[str, MaskingPolicy | None], seeds: range, way: int = NOW
) -> dict[Call, str]:
    evidence, masks = evidence_key(problem, way), _masks_keys(problem, arms)
    return {(arm, seed): trial_key(evidence, masks[arm], seed) for seed in seeds for arm in arms}


def _know_earlier(
    known: dict[str, dict[str, Any]],
    wanted: Mapping[Call, str],
    problem: Problem,
    arms: Mapping[str, MaskingPolicy | None],
    seeds: range,
) -> bool:
    """Give trials from when parts of others were looked at less closely the keys of today; whether there are any."""
    before = set(known)
    for way in range(NOW) if code_of_parts(problem.config, OF_A_TRIAL) else ():
        for call, key in _wanted(problem, arms, seeds, way).items():
            if key in known and wanted[call] not in known:
                known[wanted[call]] = known.pop(key) | {"key": wanted[call]}
    return known.keys() != before


def _say_plan(config: Config, problem: Problem, run: Run, plan: str, others: Mapping[str, str]) -> None:
    print_line(run.console, plan)
    usual = others.get(RANDOM if RANDOM in config.evaluate.arms else config.evaluate.arms[0])
    if alike := [arm for arm, why in others.items() if why == usual]:
        print_line(run.console, f"of one budget but for a few tokens ({usual}): {', '.join(alike)}")
    if apart := [f"{arm} ({why})" for arm, why in others.items() if arm != NONE and why != usual]:
        print_line(run.console, f"of another budget: {', '.join(apart)}")
    for line in too_few(config.evaluate, len(problem.labelled("train"))):
        print_line(run.console, line)


def _run_missing(
    missing: Mapping[Call, str],
    shared: Mapping[str, Any],
    known: dict[str, dict[str, Any]],
    pool: Pool,
    run: Run,
    progress: TaskProgress,
) -> dict[Call, Trial]:
    """Each trial is kept beside those that are `known` as soon as it is there."""
    done = {}
    tickets = pool.submit(run_trial, [(shared[arm], arm, seed, key) for (arm, seed), key in missing.items()])
    for result in pool.results(tickets):
        trial: Trial = replace(result, advice=how_to_see(result, run)).required()
        done[trial.arm, trial.seed] = trial
        known[trial.key] = asdict(trial)
        run.save_trials(list(known.values()))
        progress.advance(label=f"{trial.arm}, seed {trial.seed}: {trial.score:.3f}", seconds=trial.seconds)
    return done


def too_few(config: EvaluateConfig, examples: int) -> list[str]:
    """What to say of ways to score that ask for more labelled examples than there are.

    >>> too_few(EvaluateConfig(downstream=["probe", "probe@200"]), 168)
    ['probe@200: train has 168 labelled examples, and all of them are used']
    """
    wanted = {method: parts_of(method)[1] or config.labelled or 0 for method in config.downstream}
    said = f"train has {examples:,} labelled examples, and all of them are used"
    return [
        f"{method if '@' in method else f'{method}, evaluate.labelled={count}'}: {said}"
        for method, count in wanted.items()
        if count > examples
    ]


def _masks_keys(problem: Problem, arms: Mapping[str, MaskingPolicy | None]) -> dict[str, str]:
    return {
        arm: masks_key(policy, problem.domain, course_of(problem.config, arm), problem.config)
        for arm, policy in arms.items()
    }


def _named(record: dict[str, Any], arm: str) -> Trial:
    """A trial that is known under its key, perhaps of an arm of another name; and of a later version, which knows more
    of it."""
    known = {field.name for field in fields(Trial)}
    return Trial(**{name: value for name, value in record.items() if name in known} | {"arm": arm})


def how_to_see(result: Result, run: Run) -> str:
    """The command that runs a failed trial again, in one process."""
    _, arm, seed, _ = result.call.arguments
    return f"See it again, in one process: policylearn reproduce {run.address} --trial {shlex.quote(arm)} {seed}"


def evaluate_policies(
    config: Config,
    out: str | os.PathLike[str],
    console: Console,
    folders: Mapping[str, str | os.PathLike[str]],
    fresh: bool = False,
    begins: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """The comparison by itself, for policies exported earlier.

    Settings may change from one call to the next on the same `out`: every trial is kept with a key of what it depends
    on, and only those that are missing are run.

    Args:
        config: the arms are `config.evaluate.arms` ("learned" only if a folder is given) and those of `folders`.
        out: run directory, a path or a URI.
        console: where progress is shown.
        folders: arm → exported policy, as `load_policy` takes it.
        fresh: forget what `out` holds, when trials begin.
        begins: called then, before anything is forgotten or written.

    Returns:
        what stands in result.json.

    Raises:
        ValueError: bad input, or a policy of another tokenizer.
        WorkFailed, StorageFailed, Preempted: as in `policylearn.commands.train.train`.
    """
    from policylearn.report.study_page import render_study  # here only, as in commands/present.py

    Storage.at(out).check_folder()  # `Run.open` comes when all that it needs has been touched
    tell = partial(print_line, console)
    config = _arms_asked(config, folders, tell)
    problem, policies = opened(config, folders, tell, ConsoleWatch(console))
    run = Run.open(out, config, console, fresh, compares=True)
    run.remark(problem.remark)
    if config.evaluate.seeds:
        run.remark(more_labels(config, len(problem.labelled("train")), folders))
    with run, preemptible():
        build_arms(problem, policies)
        with open_pool(config, problem.data(), problem.tell, problem.watch) as pool, preemptible():
            begins()
            run.note_policies({arm: origin(folder, policies[arm]) for arm, folder in folders.items()})
            result = compare(config, problem, policies, pool, run)
        result |= {"use": use_in_words(config.model_dump()), "provenance": run.provenance()}
        alone = pool_results(config.name, {config.name: result}, RANDOM, learned=policies)
        result |= {"sentences": alone["sentences"]}
        run.save_text(REPORT, render_study(alone))
        run.finish(result)
    return result


def _arms_asked(config: Config, folders: Mapping[str, str | os.PathLike[str]], tell: Callable[[str], None]) -> Config:
    """As `with_arms`. ValueError: that compares nothing."""
    if LEARNED in config.evaluate.arms and LEARNED not in folders:
        tell(f"evaluate.arms  {LEARNED!r} is left out: no policy is given for it (--policy {LEARNED}=RUN)")
    config = with_arms(config, folders)
    if not (config.evaluate.arms and config.evaluate.seeds):
        raise ValueError(
            f"evaluate.arms = {config.evaluate.arms} on evaluate.seeds = {config.evaluate.seeds} compares nothing: "
            'name arms, such as ["random", "difference"], or policies, and set seeds to 1 or more'
        )
    return config


def with_arms(config: Config, folders: Mapping[str, str | os.PathLike[str]]) -> Config:
    """The config with the arms that are compared: "learned" only if a folder is given, and those of `folders` last."""
    arms = [*(arm for arm in config.evaluate.arms if arm not in (LEARNED, *folders)), *folders]
    return config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"arms": arms})})


def opened(
    config: Config,
    folders: Mapping[str, str | os.PathLike[str]],
    tell: Callable[[str], None] = lambda lines: None,
    watch: Watch = UNSEEN,
) -> tuple[Problem, dict[str, MaskingPolicy]]:
    """The problem and the given policies of a comparison, everything that it will need having been touched; `tell` is
    told what the task is made of, `watch` shows how far long work is.

    Raises:
        ValueError: whatever is wrong with arms, policies, tokenizer, model, task or corpora.
    """
    if fixed := [arm for arm in folders if arm in (RANDOM, NONE, "")]:
        raise ValueError(
            f"the policy {str(folders[fixed[0]])!r} is given for the arm {fixed[0]!r}, whose masks are fixed, for all "
            "others are compared with them: give it another name"
        )
    if taken := [arm for arm in folders if arm in COURSES and arm not in config.evaluate.custom]:
        raise ValueError(
            f"the policy {str(folders[taken[0]])!r} is given for the arm {taken[0]!r}, whose models are trained in "
            "another way than under masks alone: give it another name"
        )
    check_arms(config, known=folders)
    be_the_worker(config.cluster)
    problem = problem_of(config, watch, device=device_here(config.cluster), tell=tell)
    policies = {arm: given_policy(problem, folder) for arm, folder in folders.items()}
    problem.check_task()
    check_layers(problem)
    return problem, policies
