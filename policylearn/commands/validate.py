"""`policylearn diagnose --validity`: predictions of an estimator and what becomes of them, in a run directory."""

import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from policylearn.arms.arms import initial_policy
from policylearn.cluster.calls import Result, WorkFailed
from policylearn.cluster.pool import Pool, open_pool
from policylearn.commands.opening import problem_of_run
from policylearn.config import Config
from policylearn.evaluation.plan import workers_of
from policylearn.evaluation.validity import (
    LEAST,
    predict,
    predicted,
    random_changes,
    train_changed,
    validity,
    validity_verdict,
)
from policylearn.inner.seeds import VALIDITY_SEED
from policylearn.learning.changes import SIGNS, Change, apply_change, halved_differences
from policylearn.learning.outcomes import LOGITS, expected_worth, occurrences
from policylearn.learning.windows import check_windows
from policylearn.policy.policy import MaskingPolicy
from policylearn.report.formats import plural
from policylearn.report.printing import print_line
from policylearn.report.progress import TaskProgress
from policylearn.runs.preemption import preemptible
from policylearn.runs.run import Run


def validate(config: Config, out: str | os.PathLike[str], console: Console) -> dict[str, Any]:
    """Train models under random changes of the initial policy, and hold what becomes of them against predictions.

    Args:
        config: `config.validity` says how many changes and seeds; engine, windows and estimator are those of learning.
        out: run directory, a path or a URI; what is there of the same config is not run again.
        console: where progress is shown.

    Returns:
        what stands in result.json: of outer loss and dev score what `validity` found, every prediction and outcome,
        numbers of changes that made a training diverge and are left out, a verdict; of a policy with a logit per type
        also `others`, how far outcomes of the other changes foretell one, which stage "outcomes" goes by.

    Raises:
        ValueError: bad input, with what to do.
        WorkFailed, StorageFailed, Preempted: as in `policylearn.commands.train.train`.
    """
    check_windows(config, asked=True)
    run = Run.open(out, config, console, start_over="another folder for --validity")
    if run.finished:
        return run.result()
    problem = problem_of_run(run)
    policy = initial_policy(problem)
    if config.learn.start is not None:
        policy.start_here()  # as rounds do: what pulls back to a prior is no part of the outer loss
    changes = random_changes(policy, torch.from_numpy(problem.types_met()), config.validity)
    with run, preemptible():
        with open_pool(config, problem.data(), problem.tell, problem.watch) as pool, preemptible():
            gradients, outcomes = _run_all(config, policy, changes, pool, run)
        result = _result(config, gradients, outcomes)
        if LOGITS in changes[0] and changes[0][LOGITS].ndim == 1:
            kept = [change[LOGITS].numpy() for n, change in enumerate(changes) if n not in result["diverged"]]
            moved = np.stack(kept) * occurrences(problem, policy)
            result["others"] = expected_worth(moved, np.array(result["came"])).agreement
        result |= {"provenance": run.provenance()}
        run.finish(result)
    return result


def _run_all(
    config: Config, policy: MaskingPolicy, changes: list[Change], pool: Pool, run: Run
) -> tuple[np.ndarray, dict[tuple[int, float, int], dict[str, float]]]:
    """[M, R] predictions, and what became of every change, sign and seed."""
    phi = {name: value.clone() for name, value in policy.learned().items()}
    skeleton, settings = pool.share(deepcopy(policy)), config.validity
    records = run.trials()
    known = {record["key"]: record for record in records}
    wanted: dict[str, tuple[Any, dict[str, Tensor], int]] = {}
    for seed in range(settings.rollouts):
        wanted[f"rollout {seed}"] = (predict, phi, VALIDITY_SEED + settings.seeds + seed)
    for number, change in enumerate(changes):
        for sign in SIGNS:
            moved = apply_change(phi, change, sign)
            for seed in range(settings.seeds):
                wanted[f"{number} {sign:+.0f} {seed}"] = (train_changed, moved, VALIDITY_SEED + seed)
    missing, workers = [key for key in wanted if key not in known], workers_of(config.cluster)
    seeds, rollouts = plural(settings.seeds, "seed"), plural(settings.rollouts, "rollout")
    trainings = f"{len(wanted)} trainings; {len(missing)} to run"
    print_line(run.console, f"{settings.changes} changes × 2 signs × {seeds} + {rollouts} = {trainings}")
    names = {pool.submit(wanted[key][0], [(skeleton, *wanted[key][1:])])[0]: key for key in missing}
    with TaskProgress("training", len(wanted), run.console, len(known), workers) as progress:
        for found in pool.results(list(names)):
            known[names[found.call.ticket]] = _record(names[found.call.ticket], found, changes)
            run.save_trials(list(known.values()))
            progress.advance()
    predictions = np.array([known[f"rollout {seed}"]["predicted"] for seed in range(settings.rollouts)]).T
    return predictions, {
        (number, sign, seed): known[f"{number} {sign:+.0f} {seed}"]
        for number in range(len(changes))
        for sign in SIGNS
        for seed in range(settings.seeds)
    }


def _record(key: str, found: Result, changes: Sequence[Change]) -> dict[str, Any]:
    if found.failure and found.failure.kind == "not finite" and not key.startswith("rollout"):
        return {"key": key, "loss": None, "score": None}  # that a change is too much for a model is an outcome, too
    value = found.required()
    if key.startswith("rollout"):
        return {"key": key, "predicted": [predicted(value.gradient, change) for change in changes]}
    return {"key": key, **asdict(value)}


def _result(
    config: Config, predictions: np.ndarray, outcomes: dict[tuple[int, float, int], dict[str, float]]
) -> dict[str, Any]:
    seeds = range(config.validity.seeds)
    diverged = sorted({number for (number, _, _), found in outcomes.items() if found["loss"] is None})
    changes = [number for number in range(config.validity.changes) if number not in diverged]
    if len(changes) < LEAST:
        raise WorkFailed(
            f"{len(diverged)} of {config.validity.changes} changes made a training diverge, and it takes {LEAST} that "
            "do not: lower validity.strength or inner.learning_rate, or set inner.clip"
        )
    predictions = predictions[changes]

    def differences(what: str) -> np.ndarray:
        above, below = ([[outcomes[c, sign, s][what] for s in seeds] for c in changes] for sign in SIGNS)
        return halved_differences(above, below)

    loss, score = differences("loss"), differences("score")
    found = {"loss": validity(predictions, loss), "score": validity(predictions, -score)}
    return {
        "name": config.name,
        "verdict": validity_verdict(found["loss"]),
        "diverged": diverged,
        **found,
        "predicted": predictions.mean(1).tolist(),
        "came": loss.mean(1).tolist(),
        "scores": score.mean(1).tolist(),
    }
