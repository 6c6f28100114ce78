"""What dev chooses: the best φ so far, and when to give up."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from policylearn.config import LearnConfig
from policylearn.runs.state import State

DEV_ROUNDS = 3
"""A policy is chosen by its dev score averaged over this many rounds: one round's few models are noisy."""


def smoothed_dev(history: Sequence[dict[str, Any]]) -> float:
    """Dev score of the newest round, averaged with the rounds before it."""
    return float(np.mean([record["dev"] for record in history[-DEV_ROUNDS:]]))


def out_of_patience(config: LearnConfig, state: State) -> bool:
    """Whether `patience` rounds have gone by without a better dev score."""
    if config.patience is None or "best_round" not in state.numbers:
        return False
    return state.round - state.numbers["best_round"] > config.patience


def keep_best(state: State) -> None:
    """Remember the φ that the newest round has tried if that has the best dev score so far (of rounds the smoothed)."""
    if state.tried is not None and state.tried[1] > state.numbers.get("best_dev", -np.inf):
        phi, dev = state.tried
        state.numbers |= {"best_dev": dev, "best_round": state.history[-1]["round"]}
        state.best = {name: value.clone() for name, value in phi.items()}


def kept_the_first(config: LearnConfig, state: State) -> bool:
    """Whether no round was better on dev than those run with what rounds started from: the first, and as many more as φ
    lags."""
    return state.numbers.get("best_round", 0) <= config.behind
