"""Are credits worth more if their states are of several trainings? Writes trials.jsonl as it goes, then result.json and
the table.

.venv/bin/python experiments/credit_trainings/run.py [TASK ...]   # what is missing; may be stopped
.venv/bin/python experiments/credit_trainings/run.py --table
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch

from policylearn.adapt.chosen import FrozenFeatures
from policylearn.adapt.downstream import subsets
from policylearn.arms.policies import build_policy, build_uniform, sources_of, use_scores
from policylearn.config import PolicyConfig, load_config
from policylearn.credit.along import Viewpoint, steps
from policylearn.credit.credits import masked_texts, take, train_to
from policylearn.credit.domain import ALL, Credited, labelled_loss, standardised
from policylearn.evaluation.pretraining import pretrain
from policylearn.evaluation.statistics import on_shared_seeds, paired_difference
from policylearn.inner.seeds import MASK_SEED, TRAINING_SEED
from policylearn.inner.trajectory import Trajectory
from policylearn.messages.watch import UNSEEN
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.problems.texts import TextProblem
from policylearn.registry.known import ADAPTATIONS
from policylearn.report.write_up import append_line, asked_for, read_lines, write_up
from policylearn.scores.credit import CREDIT, expected_scores
from policylearn.scores.occurrences import OccurrenceMeans

FOLDER = Path(__file__).parent
LINES = FOLDER / "trials.jsonl"
TASKS, SEEDS, LABELLED, TRAININGS = ("planted", "trec6"), 10, 200, 4
BATCHES = 144
"""Of texts that a policy is learned from, in all arms."""
RANDOM, ONE, LONG, SEVERAL = (
    "random",
    "one training, 3 states",
    "one training, 12 states",
    "four trainings, 3 states each",
)
ARMS = {ONE: (1, 3), LONG: (1, 12), SEVERAL: (TRAININGS, 3)}
"""Trainings, and states of each."""
TREC6 = [
    *["task.path=../shared/data/tasks/trec6", "task.metric=accuracy", "task.extra_tests=[]"],
    *["domain.path=../shared/data/tasks/trec6/train.jsonl.gz", "inner.learning_rate=1e-4", "credit.examples=2000"],
]
PLANTED = [
    *["inner.steps=300", "inner.start=0.7", "inner.engine=one_step", "inner.window=1"],
    *["policy.prior={}", "policy.network=none", "credit.strength=2.0"],
]


@cache
def problem_of(task: str, points: int) -> TextProblem:
    given = ["cluster.backend=local", "evaluate.subsets=10", "credit.resplits=2", f"credit.points={points}"]
    path, own = ("configs/credits.toml", TREC6) if task == "trec6" else ("configs/demo.toml", PLANTED)
    return TextProblem(load_config(path, [*given, *own]))


def policy_of(task: str, seed: int, arm: str) -> MaskingPolicy:
    """By credits of the same texts under the same masks in all arms, at the states of the arm."""
    trainings, points = ARMS[arm]
    problem = problem_of(task, points)
    means = OccurrenceMeans(problem.vocabulary, sources_of(problem).lexicon)
    each = BATCHES // (trainings * points)
    for number, viewpoint in enumerate(viewpoints(problem, seed, trainings)):
        for batch in standardised(credited(problem, viewpoint, seed, number * each, each)):
            means.add(*batch)
    use_scores(problem, CREDIT, expected_scores(means, sources_of(problem)))
    return build_policy(problem, PolicyConfig(prior={CREDIT: problem.config.credit.strength}, network="none"))


def viewpoints(problem: Problem, seed: int, trainings: int) -> Iterator[Viewpoint]:
    """States of trainings under uniform masks; arms with the same seed share the first."""
    loss = labelled_loss(problem)
    for training in range(TRAININGS * seed, TRAININGS * seed + trainings):
        trajectory = Trajectory.start(problem, build_uniform(problem), TRAINING_SEED + training)
        for step in steps(problem.config):
            train_to(trajectory, step)
            yield Viewpoint(trajectory, {ALL: loss}, UNSEEN, training, problem.config.outer.parameters)


def credited(problem: Problem, viewpoint: Viewpoint, seed: int, first: int, count: int) -> list[Credited]:
    """Of `count` batches from one of the texts of this seed on, in its order."""
    uniform, rows = build_uniform(problem), np.random.default_rng([MASK_SEED, seed]).permutation(len(problem.domain))
    texts = take(masked_texts(problem, uniform, rows, MASK_SEED + seed, first=first), count)
    return [
        Credited(batch.original.numpy(), batch.real.numpy(), batch.mask.numpy(), tokens.credits[:, 0])
        for batch, tokens in zip(texts, viewpoint.credits(texts, [ALL]), strict=True)
    ]


def dev_of(problem: Problem, policy: MaskingPolicy, seed: int) -> float:
    """Mean of the probes of ten draws of labels, each by what it chose on dev; test is not read."""
    model = problem.fresh_model(seed)
    pretrain(problem, model, policy, 1_000 + seed, problem.config.inner.steps)
    features, fit = FrozenFeatures(problem, model, policy), ADAPTATIONS.get("probe").fit
    return float(np.mean([fit(features, picked, seed).dev for picked in subsets(problem, seed, LABELLED)]))


def run(task: str) -> None:
    done = {(line["arm"], line["seed"]) for line in read_lines(LINES) if line["task"] == task}
    for seed, arm in ((seed, arm) for seed in range(SEEDS) for arm in (RANDOM, *ARMS) if (arm, seed) not in done):
        problem = problem_of(task, 3)
        policy = build_uniform(problem) if arm == RANDOM else policy_of(task, seed, arm)
        line = {"task": task, "arm": arm, "seed": seed, "dev": dev_of(problem, policy, seed)}
        append_line(LINES, line)
        print(line, flush=True)


def scores_by_arm(task: str) -> dict[str, list[float]]:
    """On the seeds that all arms have."""
    own = [x for x in read_lines(LINES) if x["task"] == task]
    return on_shared_seeds({arm: {x["seed"]: x["dev"] for x in own if x["arm"] == arm} for arm in (RANDOM, *ARMS)})


def table(found: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    for task, by_arm in found.items():
        yield from (f"**{task}**, {len(by_arm[RANDOM])} seeds", "")
        yield from (
            f"| credits at the states of | dev accuracy | lowest | − random | − {ONE} |",
            "|---|---|---|---|---|",
        )
        for arm, values in by_arm.items():
            bases = ("" if arm == base else paired_difference(values, by_arm[base]).told(100) for base in (RANDOM, ONE))
            yield f"| {arm} | {100 * np.mean(values):.1f} | {100 * min(values):.1f} | {' | '.join(bases)} |"
        yield ""


def main() -> None:
    torch.set_num_threads(1)
    given = asked_for(__doc__, TASKS)
    for task in () if given.table else given.names or TASKS:
        run(task)
    complete = {task: by_arm for task in TASKS if len((by_arm := scores_by_arm(task))[RANDOM]) > 1}
    write_up(FOLDER, complete, list(table(complete)))


if __name__ == "__main__":
    main()
