"""What a fit to the end is given, and what it gives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from policylearn.models.model import InnerModel
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.tasks.labelled import Examples

Note = Callable[..., None]
"""Is told numbers by name."""


@dataclass(frozen=True)
class Chosen:
    """What dev has chosen: its score there, and how it is scored on other splits; `tuned`, if a model was trained;
    what is to be `said` of the choice, if it was one between trainings."""

    dev: float
    score: Callable[[Any], float]
    tuned: Any = None
    said: str = ""


@dataclass(frozen=True)
class Adaptation:
    """A way to use a model for the task.

    Attributes:
        outer_loss: (problem, support, query, key, note) → the loss of query rows once θ is adapted to support rows, as
            a function of θ, which `note` is told `outer_loss` and `outer_accuracy` of; `key` is of what it draws.
        fit: (features, picked training rows, seed, progress) → what dev has chosen, trained to the end; `progress`,
            which only `policylearn adapt` gives, has a default.
    """

    outer_loss: Callable[..., Any]
    fit: Callable[..., Chosen]


class FrozenFeatures:
    """Features of a model that does not change any more: of every text when first asked for, and once.

    Args:
        problem: holds the texts.
        model: θ.
        policy: under whose masks it was trained; None: under none.
    """

    def __init__(self, problem: Problem, model: InnerModel, policy: MaskingPolicy | None = None) -> None:
        self.problem, self.model, self.policy = problem, model, policy
        self._kept: dict[int, tuple[Examples, np.ndarray, np.ndarray]] = {}

    def __call__(self, split: Examples, rows: np.ndarray | None = None) -> np.ndarray:
        """[len(rows), d] of some texts of a split, or of all; of their words where these have targets."""
        rows = np.arange(len(split)) if rows is None else rows
        if id(split) not in self._kept:  # which is kept as well, so that no other takes its id
            self._kept[id(split)] = split, np.zeros(len(split), bool), np.zeros((len(split), 0), np.float32)
        _, known, x = self._kept[id(split)]
        if len(new := np.unique(rows[~known[rows]])):
            with torch.no_grad():
                found = self._extracted(split, new)
            x = x if x.size else np.zeros((len(split.y), found.shape[1]), found.dtype)
            x[split.targets_of(new)], known[new] = found, True
            self._kept[id(split)] = split, known, x
        return x[split.targets_of(rows)]

    def _extracted(self, split: Examples, rows: np.ndarray) -> np.ndarray:
        problem = self.problem
        return split.outputs(self.model, rows, problem.pad_id, problem.watch).cpu().numpy()
