"""What a comparison is about to do, and how long it will take: said before it starts."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import mean

import torch

from policylearn.arms.course import Course, course_of
from policylearn.config import ClusterConfig, EvaluateConfig, parts_of
from policylearn.evaluation.pretraining import HELD_OUT, steps_along
from policylearn.evaluation.trial import Trial
from policylearn.models.chunks import extract
from policylearn.models.model import InnerModel
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.report.formats import duration, plural

STEPS, TEXTS = 3, 32
"""What is timed, after one step and one look that are not: the first of its kind takes longer."""
BACKWARD = 3.0
"""A training step costs about so many times what looking at the same texts does."""
Arms = Mapping[str, MaskingPolicy | None]


@dataclass(frozen=True)
class ExpectedTime:
    """How long the trials to be run will take.

    Attributes:
        seconds: of each trial, by itself.
        guessed: whether a rehearsal of a few steps says so, and no trial yet.
    """

    seconds: list[float]
    guessed: bool = False

    @property
    def guess(self) -> str:
        """What to say after a time that is guessed; else nothing."""
        return " (a guess from a few steps)" if self.guessed else ""

    def together(self, workers: int) -> float:
        """Seconds on so many workers; those that have nothing left to do wait for the last."""
        rounds = -(-len(self.seconds) // workers)
        return rounds * mean(self.seconds) if self.seconds else 0.0


def workers_of(cluster: ClusterConfig) -> int:
    """How many trials run at once: backend "local" has one worker, whatever `cluster.workers` says.

    >>> workers_of(ClusterConfig(backend="local", workers=4)), workers_of(ClusterConfig(backend="ray", workers=4))
    (1, 4)
    """
    return 1 if cluster.backend == "local" else cluster.workers


def plan_line(config: EvaluateConfig, wanted: int, left: ExpectedTime, workers: int) -> str:
    """Trials, how many of them are known already, and the time the others will take.

    >>> plan_line(EvaluateConfig(arms=["random", "learned"], seeds=10), 20, ExpectedTime(12 * [30.0]), 2)
    '2 arms × 10 seeds = 20 trials, 8 of them known; 12 to run, about 3 min 0 s on 2 workers'
    >>> plan_line(EvaluateConfig(arms=["random"], seeds=3), 3, ExpectedTime(3 * [30.0], guessed=True), 2)
    '1 arm × 3 seeds = 3 trials; 3 to run, about 1 min 0 s on 2 workers (a guess from a few steps)'
    """
    arms, seeds, missing = plural(len(config.arms), "arm"), plural(config.seeds, "seed"), len(left.seconds)
    known = f", {wanted - missing} of them known" if wanted > missing else ""
    line = f"{arms} × {seeds} = {plural(wanted, 'trial')}{known}"
    if not missing:
        return line
    on = f"on {plural(workers, 'worker')}{left.guess}"
    return f"{line}; {missing} to run, about {duration(left.together(workers))} {on}"


def too_late(cluster: ClusterConfig, left: ExpectedTime) -> str:
    """What to say where a trial will count as hung before it can be finished; empty where all is well.

    >>> too_late(ClusterConfig(backend="ray", deadline=3600), ExpectedTime([30.0, 9000.0]))
    'a trial takes about 2 h 30 min, and counts as hung after 1 h 0 min: raise cluster.deadline'
    >>> too_late(ClusterConfig(backend="ray", deadline=9), ExpectedTime([30.0], guessed=True))
    'a trial takes about 30 s (a guess from a few steps), and counts as hung after 9.0 s: raise cluster.deadline'
    >>> too_late(ClusterConfig(backend="local"), ExpectedTime([9000.0]))
    ''
    """
    longest = max(left.seconds, default=0.0)
    if cluster.backend == "local" or longest <= cluster.deadline:
        return ""
    hung = f"counts as hung after {duration(cluster.deadline)}"
    return f"a trial takes about {duration(longest)}{left.guess}, and {hung}: raise cluster.deadline"


def estimate(problem: Problem, arms: Arms, missing: list[str], known: list[Trial]) -> ExpectedTime:
    """What trials will take: what earlier ones of the same arm took, else of any arm that trains as it does;
    without any, a rehearsal of a few steps, multiplied.

    Args:
        problem: data and models.
        arms: policies by name, None where there is no training.
        missing: the arm of each trial to be run.
        known: trials that are there.
    """
    took = {arm: [trial.seconds for trial in known if trial.arm == arm] for arm in dict.fromkeys(missing)}
    trained = [trial.seconds for trial in known if trial.masked_tokens]
    courses = {arm: course_of(problem.config, arm) for arm in took}
    alike = {arm for arm, c in courses.items() if trained and arms[arm] and not c.live and not c.labels}
    unknown = {arm: arms[arm] for arm, own in took.items() if not own and arm not in alike}
    rehearsed = _rehearsed(problem, unknown) if unknown else {}
    each = {arm: rehearsed[arm] if arm in rehearsed else mean(own or trained) for arm, own in took.items()}
    return ExpectedTime([each[arm] for arm in missing], guessed=bool(unknown))


def _rehearsed(problem: Problem, arms: Arms) -> dict[str, float]:
    """Seconds of a trial of each arm, by itself on this machine."""
    config, started = problem.config, time.monotonic()
    model, dev, pad = problem.fresh_model(0), problem.labelled("dev"), problem.pad_id
    to_load = time.monotonic() - started
    looked_at = dev.rows.spread(TEXTS)
    for _ in range(2):
        started = time.monotonic()
        with torch.no_grad():
            extract(model, dev.rows, looked_at, pad)
    once = to_load + _texts_seen(problem) * (time.monotonic() - started) / len(looked_at)
    found = {}
    for arm, policy in arms.items():
        course = course_of(config, arm)
        found[arm] = once + (_seconds_of_steps(problem, model, policy, course) if policy else 0.0)
    return found


def _seconds_of_steps(problem: Problem, model: InnerModel, policy: MaskingPolicy, course: Course) -> float:
    """Of all steps, from the few that are timed. Where masks go by live credits, the last but one of the timed steps
    looks at the labels, and the last has credits only; of all, the first `live` are ordinary ones, and every `live`th
    of the others looks."""
    steps, live, took = problem.config.evaluate.steps or problem.config.inner.steps, course.live, list[float]()
    tried = replace(course, texts=1.0, live=STEPS - 1 if live else 0)  # no texts are chosen, which takes its time once
    along = steps_along(problem, model, policy, 0, STEPS + 1, tried)
    for _ in range(STEPS + 1):
        started = time.monotonic()
        next(along)
        took.append(time.monotonic() - started)
    if not live:
        return steps * mean(took[1:])
    _, plain, looking, credited = took
    first, looks = min(live, steps), (steps - 1) // live
    return first * plain + (steps - first) * credited + looks * (looking - credited)


def _texts_seen(problem: Problem) -> float:
    """Texts a trial looks at after its training, those that the downstream task trains on counted as often as they
    cost."""
    data, config, probed, tuned = problem.data().examples, problem.config.evaluate, 0.0, 0.0
    train, others = len(data["train"]), sum(len(split) for name, split in data.items() if name != "train")
    for how, asked in map(parts_of, config.downstream):
        some = asked or config.labelled
        labelled, draws = (train, 1) if some is None else (min(train, some), config.subsets)
        epochs, passes = getattr(getattr(config, how, None), "epochs", None), 2 if how == "joint" else 1
        if epochs is None:  # a probe, or what others bring: looks at a text once, however many subsets it is in
            probed = max(probed, min(train, labelled * draws) + others)
        else:
            tuned += draws * (epochs * (BACKWARD * passes * labelled + len(data["dev"])) + others)
    return probed + tuned + min(HELD_OUT, len(data["dev"]))
