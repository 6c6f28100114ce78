"""From credits of single tokens to what they say about the signal, and in one line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from policylearn.config import Config
from policylearn.credit.credits import Tokens
from policylearn.credit.sums import Sums, advantage, common_words, correlation
from policylearn.credit.variance import interval, net_of, variance_shares
from policylearn.masking.lengths import LONGEST_WORD, NO_BLANKS
from policylearn.report.formats import plural, score

A, B, SHUFFLED, MADE_UP = "A", "B", "shuffled", "made up"
GOAL = 0.5
"""Reliability from which on a signal is called worth learning from: half of what credits say is true."""
FEWEST = 3
"""Word types that a correlation takes."""
HALF = 0.5
"""Share of a signal that lasts from one state to another, below which more states are asked for."""
NOISE = 0.2
"""Below it, credits are called noise."""
OTHERWISE = (
    "Where a training takes seconds, what whole ones come to may tell more: policylearn train, with "
    "'learn.stages=[outcomes,strength]' and policy.network=table."
)
"""What is left to do where credits say too little."""


@dataclass(frozen=True)
class Point:
    """What was measured at one state of the model.

    Attributes:
        step: optimiser steps before it.
        names: outer gradients: A, B and, on text half B only, the controls.
        tokens: of text halves A and B; credits [M, 2] and [M, 2 + controls].
        twins: [N, 2] credits of the same tokens: labels A under one mask, labels B under another.
        cosines: of the outer gradients of A and B by group of parameters, as they are and preconditioned.
        training: number of the training that it is a state of.
        loss: the outer loss of A, beyond which none can be lowered.
    """

    step: int
    names: list[str]
    tokens: tuple[Tokens, Tokens]
    twins: np.ndarray
    cosines: dict[str, dict[str, float]]
    training: int = 0
    loss: float = math.inf


def analyse(points: Sequence[Point], config: Config) -> dict[str, Any]:
    """Everything that credits alone can tell."""
    first, second = (sums(points, half) for half in (0, 1))
    rows = common_words(first, second, config.diagnose.least)
    check_types(len(rows[0]), config)
    x, y = first.means[rows[0]], second.means[rows[1]]
    cells = np.stack([np.stack([x[:, 0], y[:, 0]], 1), np.stack([x[:, 1], y[:, 1]], 1)], 1)  # [K, labels, text]
    shares = variance_shares(cells)
    names = points[0].names
    net = net_of(x[:, 0], y[:, 1], y[:, [i for i, name in enumerate(names) if name.startswith(SHUFFLED)]])
    return {
        "reliability": shares.whole,
        "interval": interval(cells, config.diagnose.draws),
        "half": shares.signal,
        "net": net,
        "controls": {n: correlation(x[:, 0], y[:, i]) for i, n in enumerate(names) if i > 1},
        "shares": vars(shares),
        "lasting": lasting(points, config.diagnose.least),
        "types": len(rows[0]),
        "tokens": [int(s.counts.sum()) for s in (first, second)],
        "token_level": token_level(points),
        "token_controls": {n: token_control(points, i) for i, n in enumerate(names) if i > 1},
        "cosines": mean_cosines(points),
        "steps": [point.step for point in points],
        "outer_loss": float(np.mean([point.loss for point in points])),
    }


def check_types(count: int, config: Config, in_long: float = 0.0) -> None:
    """Raises ValueError if so few word types were masked often enough that nothing correlates across them; `in_long`:
    the share of masked tokens in words that are too long to occur often."""
    if count < FEWEST:
        mend = "raise credit.batches or lower diagnose.least"
        if in_long > HALF:
            mend = f"{in_long:.0%} of what is masked are in words of more than {LONGEST_WORD} tokens: {NO_BLANKS}"
        raise ValueError(
            f"only {plural(count, 'word')} of the domain would be masked {config.diagnose.least} times in both halves "
            f"of {config.credit.points} × {config.credit.batches} batches, and it takes {FEWEST}: {mend}"
        )


def sums(points: Sequence[Point], half: int) -> Sums:
    """Advantages of one text half by word type, all points together."""
    first, *others = (Sums.of(p.tokens[half].keys, advantage(p.tokens[half].credits)) for p in points)
    return first.add(*others)


def lasting(points: Sequence[Point], least: int) -> dict[str, float | None]:
    """Of what labels and texts agree on at one state of the model, the share that they agree on between two.

    Mean covariance over words of the means under labels A on texts A at one state and under labels B on texts B at
    another, over that at the same one: `states` are of one training, `trainings` of two, at whatever step. None where
    there are no two, or nothing at one state to compare with. Halves share their state, so that reliability is too high
    a promise by what does not last (a facet of its own, in the words of `variance`).
    """
    halves = [
        [Sums.of(p.tokens[half].keys, advantage(p.tokens[half].credits[:, :2])) for half in (0, 1)] for p in points
    ]
    found: dict[str, list[float]] = {"same": [], "states": [], "trainings": []}
    for i, p in enumerate(points):
        for j, q in enumerate(points):
            kind = "same" if i == j else "states" if p.training == q.training else "trainings"
            found[kind] += _covariances(halves[i][0], halves[j][1], least)
    same = float(np.mean(found.pop("same") or [0.0]))
    return {kind: float(np.mean(values)) / same if values and same > 0 else None for kind, values in found.items()}


def _covariances(a: Sums, b: Sums, least: int) -> list[float]:
    """Of means over words, under the two pairs of other labels; none of too few words."""
    in_a, in_b = common_words(a, b, least)
    if len(in_a) < FEWEST:
        return []
    x, y = a.means[in_a], b.means[in_b]
    return [float(np.cov(x[:, i], y[:, 1 - i])[0, 1]) for i in (0, 1)]


def token_level(points: Sequence[Point]) -> dict[str, float | None]:
    """Correlations between labels A and B over the same tokens, masked alike and twice; means over points."""
    same = [correlation(*tokens.credits[:, :2].T) for point in points for tokens in point.tokens]
    other = [correlation(*point.twins.T) for point in points if len(point.twins)]
    return {"same masks": float(np.mean(same)), "other masks": float(np.mean(other)) if other else None}


def token_control(points: Sequence[Point], column: int) -> float:
    """Correlation of labels A with those of a control over the tokens of text half B; the mean of points."""
    return float(np.mean([correlation(*p.tokens[1].credits[:, [0, column]].T) for p in points]))


def mean_cosines(points: Sequence[Point]) -> dict[str, dict[str, float]]:
    """By kind and group, the mean over points."""
    kinds = points[0].cosines
    return {
        kind: {group: float(np.mean([p.cosines[kind][group] for p in points])) for group in groups}
        for kind, groups in kinds.items()
    }


def verdict(result: dict[str, Any]) -> str:
    """One line: signal or noise."""
    value, (low, high) = result["reliability"], result["interval"]
    numbers = f"word-type reliability {value:.2f} [{low:.2f}, {high:.2f}]"
    if is_noise(result):
        return f"the signal is noise: {numbers}"
    if not is_of_the_task(result):
        return f"the signal is not the task's: {numbers}, most of which shuffled labels explain as well"
    if value < GOAL:
        return f"the signal is weak: {numbers}"
    return f"there is a signal: {numbers}{_what_lasts(result['lasting'])}"


def outlook(result: dict[str, Any]) -> str:
    """What one wants to know before a night of learning: will it help, by about how much, what would help more.

    >>> found = {"interval": [0.2, 0.6], "reliability": 0.4, "controls": {}, "outer_loss": 0.65}
    >>> found |= {"forecast": {"loss": 0.2, "labels": 0.21, "text": 0.23}}
    >>> outlook(found).split(". ")[1]
    'Twice the text would add .030 to that, twice the labels .010'
    >>> outlook(found | {"interval": [-0.2, 0.6], "shares": {"label": 0.7, "text": 0.1}}).split(". ")[1]
    'Label more examples and diagnose again: which were labelled matters more than which tokens were masked'
    """
    found, most = result["forecast"], result.get("outer_loss", math.inf)
    if is_noise(result):
        label, text = "which were labelled", "which tokens were masked"
        more, less, mend = label, text, "Label more examples"
        if result["shares"]["text"] > result["shares"]["label"]:
            more, less, mend = text, label, "Credit more text (raise credit.batches)"
        return (
            "Not yet: halves of the data hardly agree, or by chance, so that a policy would follow noise. "
            f"{mend} and diagnose again: {more} matters more than {less}. {OTHERWISE}"
        )
    if not is_of_the_task(result):
        return (
            "Not yet: most of what halves of the data agree on, shuffled labels explain as well, so that a policy "
            f"would hardly follow the task. Label more examples and diagnose again. {OTHERWISE}"
        )
    if found["loss"] <= 0:
        return (
            "Hardly: halves of the data agree, but masks by these credits are not foretold to lower the outer loss "
            f"more than random masks do. {OTHERWISE}"
        )
    next_step = "To go on: policylearn train, with these settings and 'learn.stages=[expected]'."
    if found["loss"] > most:
        return f"It may help, by how much cannot be said: steps so large are not linear. {next_step}"
    first, other = sorted(("labels", "text"), key=lambda name: -found[name])
    return (
        f"It may help: to first order, masks by these credits lower the outer loss, {score(most)} now, by "
        f"{score(found['loss'])} more than random masks do; from a checkpoint about a quarter of such forecasts came. "
        f"Twice the {first} would add {score(found[first] - found['loss'])} to that, twice the {other} "
        f"{score(found[other] - found['loss'])}. {next_step}"
    )


def is_noise(result: dict[str, Any]) -> bool:
    """Whether two halves of the data are not shown to agree, or hardly do."""
    return bool(result["interval"][0] <= 0 or result["reliability"] < NOISE)


def is_of_the_task(result: dict[str, Any]) -> bool:
    """Whether shuffled labels leave at least half of what the halves agree on."""
    return not (result["controls"] and result["net"] < result["half"] / 2)


def _what_lasts(found: dict[str, float | None]) -> str:
    """Of the states of one training, or if there is but one of each, of several trainings; a few words."""
    share = found["states"] if found["states"] is not None else found["trainings"]
    if share is None:
        return ""
    advice = "; average over more of them: raise credit.points or credit.trainings"
    return (
        f", of which {max(share, 0.0):.2f} lasts from one state of the model to another{advice if share < HALF else ''}"
    )
