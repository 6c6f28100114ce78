"""Where the time of a trial goes: the functions of `evaluation/` and `adapt/` are timed while trials run.

Prints one JSON object: part → processor seconds of a trial, without those of the parts within it.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from policylearn.adapt import downstream, finetune
from policylearn.adapt.chosen import FrozenFeatures
from policylearn.arms.policies import build_uniform
from policylearn.config import load_config
from policylearn.evaluation import pretraining, trial
from policylearn.inner.masked_lm import MaskedLM
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem
from policylearn.registry.known import ADAPTATIONS
from policylearn.tasks.labelled import Labelled

PARTS = {
    "training: masks": (MaskedLM, "draw"),
    "training: steps": (pretraining, "plain_step"),
    "loss on held-out text": (trial, "held_out_loss"),
    "features": (FrozenFeatures, "_extracted"),
    "fine-tuning: where the head starts": (finetune, "head_of"),
    "fine-tuning: dev and test": (Labelled, "score"),
    "test": (downstream, "score_chosen"),
    "a copy of the model": (Problem, "fresh_model"),
}
"""What is timed, by where its function is looked up."""
REST = "the rest"


class Clock:
    """Processor seconds by part; a part within another counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._within: list[float] = []

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            started = time.process_time()
            self._within.append(0.0)
            try:
                return function(*arguments, **named)
            finally:
                took = time.process_time() - started
                self.seconds[part] += took - self._within.pop()
                if self._within:
                    self._within[-1] += took

        return run


def breakdown(overrides: list[str], trials: int) -> dict[str, float]:
    """Processor seconds of a trial by part: the mean over seeds, after one trial that is not counted."""
    problem, clock = problem_of(load_config(overrides[0], overrides[1:])), Clock()
    torch.set_num_threads(problem.config.cluster.threads)
    problem.data()
    uniform, run = build_uniform(problem), clock.timed(REST, trial.run_trial)
    for part, (holder, name) in PARTS.items():
        setattr(holder, name, clock.timed(part, getattr(holder, name)))
    for method in ("probe", "finetune"):
        found = ADAPTATIONS.get(method)
        ADAPTATIONS.members[method] = replace(found, fit=clock.timed(f"{method}: fit", found.fit))
    run(problem, uniform, "random", 0)
    clock.seconds.clear()
    for seed in range(1, trials + 1):
        run(problem, uniform, "random", seed)
    return {part: seconds / trials for part, seconds in clock.seconds.items()}


if __name__ == "__main__":
    print(json.dumps(breakdown(sys.argv[2:], int(sys.argv[1]))))
