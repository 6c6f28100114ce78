"""What an inner step learns: every step of every training takes its objective as an argument."""

from typing import Any, Protocol

from torch import Tensor

from policylearn.inner.window import Loss
from policylearn.masking import MaskedBatch
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.registry.known import OBJECTIVES
from policylearn.registry.registry import check_has


class Objective(Loss, Protocol):
    """A `Loss`, and how the batches are masked that it is taken on."""

    def draw(
        self, policy: MaskingPolicy, x: Tensor, real: Tensor, seed: int, epoch: Any, **settings: Any
    ) -> MaskedBatch:
        """Texts masked by a policy; arguments as of `mask_tokens`, so many of them by place."""


def objective_of(problem: Problem) -> Objective:
    """The objective of `inner.objective`. ValueError: what it names gives none."""
    name = problem.config.inner.objective
    found = OBJECTIVES.get(name)(problem)
    check_has(f"what the objective {name!r} gave", found, ("draw", "inputs", "__call__", "parts"))
    return found
