"""A kind of task, from its files to what adaptations are given of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from policylearn.config import Config, TaskConfig
from policylearn.data.opened import OpenTask
from policylearn.data.tokens import Text
from policylearn.messages.quote import quote
from policylearn.protocols import Kind, Readout
from policylearn.registry.known import METRICS

Shown = Callable[[Iterable[Text]], Iterable[Text]]
"""The same texts, looked at while they flow."""
Metric = Callable[[np.ndarray, np.ndarray], float]
"""(y [N], predictions [N]) → score, the more the better."""


@dataclass(frozen=True)
class TaskKind:
    """What a name in `task.kind` stands for.

    Attributes:
        metrics: names of what `Kind.score` may be, that of a config which names none first.
        read: (config, open data set) → the splits by name as `splits`, and a label set as `labels`. Raises ValueError
            for bad rows.
        describe: what was read → a few lines.
        tokenize: (config, what was read, split, tokenizer, shows texts) → the split, with a length, `rows`, and
            `contents()`, all that is to be predicted as bytes: a trial is known again by them.
        build: (config, label set, tokenizer, function that gives the tokenised train) → what adaptations see.
    """

    metrics: tuple[str, ...]
    read: Callable[[TaskConfig, OpenTask], Any]
    describe: Callable[[Any], list[str]]
    tokenize: Callable[[Config, Any, str, PreTrainedTokenizerBase, Shown], Any]
    build: Callable[[TaskConfig, list[str], PreTrainedTokenizerBase, Callable[[], Any]], Kind]


def metric_of(kind: str, readout: Readout, name: str) -> Metric:
    """The metric of this name: one of the kind's own, or one that was registered for it, which of several labels is
    given decisions in place of logits. It raises ValueError where it fails, or gives what is no finite number."""
    if name in readout.metrics:
        return partial(_measured, name, readout.metrics[name])
    theirs = METRICS.get(f"{kind}.{name}")
    several = readout.problem_type == "multi_label_classification"
    return partial(_measured, name, partial(_decided, theirs) if several else theirs)


def _decided(metric: Metric, y: np.ndarray, logits: np.ndarray) -> float:
    return metric(y, (logits > 0).astype(y.dtype))


def _measured(name: str, metric: Metric, y: np.ndarray, predicted: np.ndarray) -> float:
    try:
        found = metric(y, predicted)
    except Exception as error:  # fault boundary: the code of others fails in any way it likes
        raise ValueError(f"task.metric {name!r} fails: {type(error).__name__}: {error}") from error
    return finite_score(f"task.metric {name!r}", found)


def finite_score(who: str, found: Any) -> float:
    """A score as a float: of a number, or of an array or tensor that is one. ValueError: `who` gave something else, or
    NaN or infinity, of which no test can be made.

    >>> finite_score("task.metric 'mine'", [0.5])
    Traceback (most recent call last):
    ...
    ValueError: task.metric 'mine' gave [0.5] of type list: a score is a finite number, have it give one
    """
    number = found.item() if getattr(found, "ndim", None) == 0 else found
    if isinstance(number, Real) and isfinite(number):
        return float(number)
    raise ValueError(
        f"{who} gave {quote(found)} of type {type(found).__name__}: a score is a finite number, have it give one"
    )
