"""A kind of task, from its files to what adaptations are given of it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from policylearn.config import Config, TaskConfig
from policylearn.data.opened import OpenTask
from policylearn.data.tokens import Text
from policylearn.protocols import Kind
from policylearn.registry import METRICS

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


def metric_of(kind: str, own: Mapping[str, Metric], name: str) -> Metric:
    """The metric of this name: one of the kind's own, or one that was registered for it."""
    return own[name] if name in own else METRICS.get(f"{kind}.{name}")
