"""What masks by credits would be worth, before anything is trained under them.

Scores of words come from labels A on texts A, what following them is worth from labels B on texts B, and the other way
round: nothing is promised that only holds for the data it was found in. Where several states of the model were looked
at, scores of one are those of all others.

Let c_i be the credit of masked token i, what its share of a step with M masked tokens lowers the outer loss by, and s_i
the score of its word, as `scores.credit.expected` has it. Under masks that take tokens in proportion to
exp(strength · s_i), instead of evenly, a step lowers the outer loss by

    M · (Σ_i w_i c_i / Σ_i w_i - Σ_i c_i / N),     w_i = exp(strength · s_i), at most p_max / rate times their mean

more; the mean over states, times the steps of a training, is the forecast. It is to first order: every step is taken as
if it were the last. The scores of a half are noisier than those of everything: with signal, label, text and rest the
shares of `credit.variance`, l and t times the labels and texts of a half make it larger by √(reliability(l, t) /
reliability(1, 1)).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from policylearn.config import Config
from policylearn.credit.analysis import Point
from policylearn.credit.credits import Tokens
from policylearn.credit.sums import advantage
from policylearn.credit.variance import Shares, reliability
from policylearn.scores.credit import expected
from policylearn.scores.occurrences import Means
from policylearn.scores.sorted_keys import rows_of_keys

HALVES = (0, 1)
WHOLE = 2.0
"""Halves of the labels, and of the texts, that a policy is learned from."""
DIFFUSION_RATE = 0.5
"""The mean of the rates that masked diffusion draws."""


def forecast(points: Sequence[Point], shares: Shares, config: Config) -> dict[str, Any]:
    """What masks by credits of all these data would do, more than masks by nothing.

    Returns:
        `loss`, by how much they would lower the outer loss over `inner.steps`; the same with twice the `labels`, twice
        the `text` and twice the `steps`; `advantage`, the mean credit of what they mask, in standard deviations of
        single tokens' credits; `halves`, the two forecasts of half the data that `loss` is made of.
    """
    batches, steps = config.credit.batches, config.inner.steps
    found = np.array([[_gains(points, config, at, half) for at in range(len(points))] for half in HALVES])
    tokens = np.array([[len(p.tokens[1 - half].keys) / batches for p in points] for half in HALVES])
    halves = steps * (tokens * found[:, :, 0]).mean(1)
    more = {"loss": (WHOLE, WHOLE), "labels": (2 * WHOLE, WHOLE), "text": (WHOLE, 2 * WHOLE)}
    grown = {name: _grown(shares, *amount) for name, amount in more.items()}
    losses = {name: float(halves.mean() * factor) for name, factor in grown.items()}
    return {
        **losses,
        "steps": 2 * losses["loss"],
        "advantage": float(found[:, :, 1].mean() * grown["loss"]),
        "halves": halves.tolist(),
    }


def _grown(shares: Shares, labels: float, text: float) -> float:
    """How much larger the gain is than that of a half; where halves know nothing, it stays as it is."""
    one = reliability(shares, 1.0, 1.0)
    return float(np.sqrt(reliability(shares, labels, text) / one)) if one > 0 else 1.0


def _gains(points: Sequence[Point], config: Config, at: int, half: int) -> tuple[float, float]:
    """By one half's scores, on the other half at one state: mean credit of what they mask less that of all, as it is
    and in standard deviations."""
    others = [p for i, p in enumerate(points) if i != at] or points
    tokens, credits = points[at].tokens[1 - half], points[at].tokens[1 - half].credits[:, 1 - half]
    weights = np.exp(config.credit.strength * _scores([p.tokens[half] for p in others], half, tokens.keys))
    rate = DIFFUSION_RATE if config.inner.objective == "masked_diffusion" else config.masking.usual_rate
    weights = np.minimum(weights / weights.mean(), config.masking.p_max / rate)
    gain = float(weights @ credits / weights.sum() - credits.mean())
    return gain, gain / max(float(credits.std()), np.finfo(np.float64).tiny)


def _scores(parts: Sequence[Tokens], column: int, keys: np.ndarray) -> np.ndarray:
    """What credits of these parts say of words, [N]: as a policy has it, so 0 for words that no part has."""
    known = np.unique(np.concatenate([part.keys for part in parts]))
    means = Means(len(known))
    for part in parts:
        values = advantage(part.credits[:, column])
        means.add(torch.from_numpy(np.searchsorted(known, part.keys)), torch.from_numpy(values))
    scores = expected(means).numpy()
    at = rows_of_keys(known, keys)
    return np.where(at >= 0, scores[at], 0.0)
