"""Is a policy of a domain's other tasks worth something on one it never saw? Writes result.json and README's table.

.venv/bin/python experiments/domain_policies/run.py            # what is missing; may be stopped
.venv/bin/python experiments/domain_policies/run.py --float32  # on a processor without bf16
.venv/bin/python experiments/domain_policies/run.py --table    # from the trials there are
.venv/bin/python experiments/domain_policies/run.py --keep     # the policies, into experiments/policies
"""

import json
import math
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import torch
from rich.console import Console

from policylearn import average, load_policy, save_policy
from policylearn.arms.arms import arm_policy
from policylearn.artefact.card import with_note
from policylearn.commands.train import train
from policylearn.config import Config, load_config
from policylearn.evaluation.statistics import Difference, on_shared_seeds, pooled_difference
from policylearn.evaluation.trial import run_trial
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.problems.texts import TextProblem
from policylearn.report.write_up import append_line, asked_for, read_lines, write_up

FOLDER, RUNS, DATA = Path(__file__).parent, Path("runs/domain_policies"), "../shared/data"
LINES = FOLDER / "trials.jsonl"
DOMAIN = {
    "acl_arc": "tasks/acl_arc",
    "scicite": "tasks/scicite",
    "chemprot": "tasks/chemprot",
    "pubmed_sections": "tasks/pubmed_sections",
}
"""Tasks on scientific text, of which every other policy is made."""
SETTINGS = {
    "acl_arc": ["task.metric=macro_f1", 'task.extra_tests=["test_noverlap"]'],
    "scicite": ["task.metric=macro_f1"],
    "ner_ncbi_disease": ["task.kind=tagging"],
}
TASKS = DOMAIN | {"ner_ncbi_disease": "ner/ner_ncbi_disease"}
CLEAN = {"acl_arc": "test_noverlap"}
"""Test rows that repeat no training text."""
OTHERS, OWN = "of the other tasks", "own"
ARMS = ["none", "random", OTHERS, OWN]
SEEDS, LABELS = 10, 200


def config_of(task: str, precision: str, *more: str) -> Config:
    path, own = TASKS[task], SETTINGS.get(task, [])
    given = [f"name={task}", f"task.path={DATA}/{path}", f"domain.path={DATA}/{path}/train.jsonl.gz"]
    usual = [
        "task.metric=auto",
        "task.extra_tests=[]",
        "cluster.backend=local",
        "evaluate.subsets=5",
        f"model.bf16={json.dumps(precision == 'bf16')}",
    ]
    compared = [
        f'evaluate.downstream=["probe@{LABELS}"]',
        'evaluate.arms=["none", "random"]',
    ]
    return load_config("configs/credits.toml", [*usual, *given, *own, *compared, *more])


def learn(task: str) -> Path:
    """A task's own policy, from 2,000 labels at most."""
    if not (RUNS / task / "policy").exists():
        alone = ["credit.examples=2000", "evaluate.seeds=0", 'evaluate.arms=["random"]']
        train(config_of(task, precision_of(), *alone), RUNS / task, Console())
    return RUNS / task / "policy"


def of_others(task: str) -> Path:
    """The mean of the domain's other policies, as strong as one of them if what they say of words is unrelated."""
    folder, others = RUNS / f"without-{task}", [other for other in DOMAIN if other != task]
    if not folder.exists():
        artefact = average({other: learn(other) for other in others}, math.sqrt(len(others)))
        save_policy(folder, artefact, artefact.card)
    return folder


def precision_of(*of_pair: str) -> str:
    """That of the trials it is compared with, where there are any."""
    return of_pair[0] if of_pair else "float32" if "--float32" in sys.argv else "bf16"


def run_one(task: str, arm: str, seed: int) -> None:
    """One trial; its line is kept."""
    precision = precision_of(*(x["precision"] for x in read_lines(LINES) if (x["task"], x["seed"]) == (task, seed)))
    problem = problem_of(task, precision)
    trial = run_trial(problem, policy_of(problem, task, arm), arm, seed)
    score = trial.extra.get(CLEAN.get(task, ""), trial.score)
    line = {"task": task, "arm": arm, "seed": seed, "score": score, "precision": precision}
    append_line(LINES, line)
    print(line, f"{trial.seconds:.0f} s", flush=True)


@lru_cache(maxsize=1)
def problem_of(task: str, precision: str) -> Problem:
    return TextProblem(config_of(task, precision))


def policy_of(problem: Problem, task: str, arm: str) -> MaskingPolicy | None:
    """Whose masks an arm trains under; "none" does not train."""
    if arm in (OTHERS, OWN):
        return load_policy(of_others(task) if arm == OTHERS else learn(task)).policy
    return arm_policy(problem, arm)


def scores(task: str) -> dict[str, list[float]]:
    """On test by arm, of seeds that all arms have, in points."""
    own = [line for line in read_lines(LINES) if line["task"] == task]
    by_arm = {arm: {x["seed"]: x["score"] for x in own if x["arm"] == arm} for arm in ARMS}
    found = on_shared_seeds(by_arm)
    return {arm: [100 * score for score in values] for arm, values in found.items()} if len(found[OWN]) > 1 else {}


def table(found: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    heads = [f"{task} ({len(by_arm[OWN])} seeds)" for task, by_arm in found.items()]
    yield f"| masks | {' | '.join(heads)} | mean of the four, − random |"
    yield "|---" * (2 + len(found)) + "|"
    four = [by_arm for task, by_arm in found.items() if task in DOMAIN]
    for arm in ARMS:
        means = [f"{sum(by_arm[arm]) / len(by_arm[arm]):.1f}" for by_arm in found.values()]
        if arm != "random":
            gaps = [pooled_difference([gaps_of(by_arm, arm)]) for by_arm in found.values()]
            means = [f"{mean} ({gap.told()})" for mean, gap in zip(means, gaps, strict=True)]
        whole = "" if arm == "random" else pooled_difference([gaps_of(by_arm, arm) for by_arm in four]).told()
        yield f"| {arm} | {' | '.join(means)} | {whole} |"


def gaps_of(by_arm: dict[str, list[float]], arm: str) -> list[float]:
    """To random masks, seed by seed."""
    return [a - b for a, b in zip(by_arm[arm], by_arm["random"], strict=True)]


def keep(found: dict[str, dict[str, list[float]]]) -> None:
    """Every task's own policy, and that of all four, with what they gained where it was measured."""
    known = {task: load_policy(RUNS / task / "policy") for task in DOMAIN}
    known["science"] = average(known, math.sqrt(len(known)))
    for name, artefact in known.items():
        gained = [f"- {task}: {gap.told()} ({gap.seeds} seeds)" for task, gap in gains_of(name, found)]
        lines = [f"Points of 100 above random masks, by a probe of {LABELS} labels, paired seeds [95 %]:", ""]
        note = "\n".join([*lines, *gained, "", "Measured by experiments/domain_policies of policylearn."])
        save_policy(FOLDER.parent / "policies" / name, artefact, with_note(artefact.card, note))


def gains_of(name: str, found: dict[str, dict[str, list[float]]]) -> Iterator[tuple[str, Difference]]:
    """Where a policy was compared with random masks, and what came."""
    for task, by_arm in found.items():
        arm = OWN if task == name else OTHERS if name == "science" and task not in DOMAIN else None
        if arm is not None:
            yield task, pooled_difference([gaps_of(by_arm, arm)])


def main() -> None:
    given = asked_for(__doc__, flags=("table", "float32", "keep"))
    torch.set_num_threads(1)
    known = {(line["task"], line["arm"], line["seed"]) for line in read_lines(LINES)}
    wanted = [(task, arm, seed) for task in TASKS for seed in range(SEEDS) for arm in ARMS]
    for call in () if given.table or given.keep else wanted:
        if call not in known:
            run_one(*call)
    found = {task: by_arm for task in TASKS if (by_arm := scores(task))}
    write_up(FOLDER, found, list(table(found)))
    if given.keep:
        keep(found)


if __name__ == "__main__":
    main()
