"""Does a second step of expected credit, measured under the policy of the first, beat the first? Writes trials.jsonl as
it goes, then result.json and the table.

.venv/bin/python experiments/second_step/run.py [TASK ...]   # what is missing; may be stopped
.venv/bin/python experiments/second_step/run.py --table
"""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from policylearn.adapt.outer import dev_score
from policylearn.arms.arms import arm_policy
from policylearn.arms.policies import build_policy, build_uniform, sources_of, use_scores
from policylearn.config import Config, PolicyConfig, load_config
from policylearn.credit.along import states
from policylearn.credit.domain import DomainCredits, batches_of_point, standardised
from policylearn.evaluation.pretraining import pretrain
from policylearn.evaluation.statistics import on_shared_seeds, paired_difference
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.report.console_watch import ConsoleWatch
from policylearn.report.write_up import append_line, asked_for, read_lines, write_up
from policylearn.scores.credit import CREDIT, expected_scores
from policylearn.scores.occurrences import OccurrenceMeans

FOLDER, KEPT = Path(__file__).parent, Path("runs/second_step")
LINES = FOLDER / "trials.jsonl"
TASKS, SEEDS, STRENGTH = ("trec6", "pubmed_sections"), 10, 2.0
RANDOM, FIRST, TWICE, SECOND, SUM = (
    "random",
    "first step",
    "first step, twice the data",
    "second step alone",
    "first and second, averaged",
)
ARMS = (RANDOM, FIRST, TWICE, SECOND, SUM)


def config_of(task: str, trainings: int = 1) -> Config:
    path = f"../shared/data/tasks/{task}"
    given = [f"task.path={path}", "task.metric=accuracy", "task.extra_tests=[]", f"domain.path={path}/train.jsonl.gz"]
    given += ["cluster.backend=local", "inner.learning_rate=1e-4", f"credit.trainings={trainings}"]
    return load_config("configs/credits.toml", [*given, "credit.batches=80", "credit.resplits=2", f"name={task}"])


def measured(problem: Problem, under: MaskingPolicy | None, which: range) -> OccurrenceMeans:
    """Credits of the domain at some of the states, by word."""
    means = OccurrenceMeans(problem.vocabulary, sources_of(problem).lexicon)
    along = DomainCredits(problem, build_uniform(problem), under)
    for number in which:
        for batch in standardised(along.credit(number, 0, batches_of_point(problem.config))):
            means.add(*batch)
    return means


def together(*parts: OccurrenceMeans) -> OccurrenceMeans:
    """All of their occurrences."""
    found = deepcopy(parts[0])
    for part in parts[1:]:
        for mine, other in ((found.types, part.types), (found.words, part.words)):
            mine.sums, mine.squares, mine.counts = (
                a + b
                for a, b in zip(
                    (mine.sums, mine.squares, mine.counts), (other.sums, other.squares, other.counts), strict=True
                )
            )
    return found


def policy_of(problem: Problem, means: OccurrenceMeans) -> MaskingPolicy:
    use_scores(problem, CREDIT, expected_scores(means, sources_of(problem)))
    return build_policy(problem, PolicyConfig(prior={CREDIT: STRENGTH}, network="none"))


def kept(problem: Problem, task: str, name: str, make: Any) -> OccurrenceMeans:
    """Sums of credits, measured once."""
    path = KEPT / f"{task}-{name}.pt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        found = make()
        torch.save([vars(found.types), vars(found.words)], path)
    means = OccurrenceMeans(problem.vocabulary, sources_of(problem).lexicon)
    for bins, values in zip((means.types, means.words), torch.load(path), strict=True):
        vars(bins).update(values)
    return means


def policies(task: str, console: Console) -> tuple[Problem, dict[str, MaskingPolicy | None]]:
    """All arms; the two trainings that `TWICE` is credited along begin with that of `FIRST`."""
    problem = problem_of(config_of(task, trainings=2), ConsoleWatch(console))
    points = states(problem.config) // 2
    first = kept(problem, task, "first", lambda: measured(problem, None, range(points)))
    again = kept(problem, task, "again", lambda: measured(problem, None, range(points, 2 * points)))
    on_policy = policy_of(problem, first)
    second = kept(problem, task, "second", lambda: measured(problem, on_policy, range(points, 2 * points)))
    found = {FIRST: first, TWICE: together(first, again), SECOND: second, SUM: together(first, second)}
    return problem, {RANDOM: arm_policy(problem, "random")} | {n: policy_of(problem, m) for n, m in found.items()}


def run(task: str, console: Console) -> None:
    torch.set_num_threads(1)
    problem, arms = policies(task, console)
    done = {(line["arm"], line["seed"]) for line in read_lines(LINES) if line["task"] == task}
    for seed, arm in ((seed, arm) for seed in range(SEEDS) for arm in ARMS if (arm, seed) not in done):
        model = problem.fresh_model(seed)
        policy = arms[arm]
        assert policy is not None
        pretrain(problem, model, policy, 1_000 + seed, problem.config.inner.steps)
        line = {"task": task, "arm": arm, "seed": seed, "dev": dev_score(problem, model)}
        append_line(LINES, line)
        print(line, flush=True)


def table(found: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    for task, by_arm in found.items():
        yield from (f"**{task}**, {len(by_arm[RANDOM])} seeds", "")
        yield from (f"| masks | dev accuracy | − random | − {TWICE} |", "|---|---|---|---|")
        for arm, values in by_arm.items():
            cells = [f"{100 * np.mean(values):.1f}"]
            bases = (RANDOM, TWICE)
            cells += ["" if arm == base else paired_difference(values, by_arm[base]).told(100) for base in bases]
            yield f"| {arm} | {' | '.join(cells)} |"
        yield ""


def main() -> None:
    given = asked_for(__doc__, TASKS)
    for task in () if given.table else given.names or TASKS:
        run(task, Console())
    complete = {task: by_arm for task in TASKS if len((by_arm := scores_by_arm(task))[RANDOM]) > 1}
    write_up(FOLDER, complete, list(table(complete)))


def scores_by_arm(task: str) -> dict[str, list[float]]:
    """On the seeds that all arms have."""
    own = [x for x in read_lines(LINES) if x["task"] == task]
    return on_shared_seeds({arm: {x["seed"]: x["dev"] for x in own if x["arm"] == arm} for arm in ARMS})


if __name__ == "__main__":
    main()
