"""Decorators by which a module brings parts of its own. Any config can name them from then on.

What is registered while a module is imported reaches workers as well: the config names the module in `imports`, which
`policylearn.learn` sees to, as does `--import` on the command line. What is registered in a notebook or a script, or by
a function that is called later, works where everything runs in one process (`cluster.backend = "local"`).
"""

import sys
from collections.abc import Callable
from typing import TypeVar

from policylearn.registry.known import ESTIMATORS, KINDS, METRICS, OBJECTIVES, SCORERS
from policylearn.registry.registry import Origin

Part = TypeVar("Part", bound=Callable)
QUESTIONS = "questions"
"""The kind whose metrics are methods of its own."""


def scorer(name: str) -> Callable[[Part], Part]:
    """Register a function `Sources` → `Scores`: a number for every token type, and for words if it knows any.

    Raises:
        ValueError: the name is that of another scorer, of an arm or of a setting of all scorers, or ends early.

    >>> import torch
    >>> from policylearn import Scores, scorer
    >>> @scorer("short")
    ... def short(sources):
    ...     tokens = sources.tokenizer.convert_ids_to_tokens(range(len(sources.tokenizer)))
    ...     return Scores(torch.tensor([-float(len(token)) for token in tokens]))
    """
    return SCORERS.register(name, Origin.of(sys._getframe(1)))


def task(name: str) -> Callable[[Part], Part]:
    """Register a kind of task by a function without arguments that gives its `policylearn.tasks.kind.TaskKind`, such as
    `policylearn.tasks.labelled.labelled_kind` makes; the function is called at once."""
    register = KINDS.register(name, Origin.of(sys._getframe(1)))

    def add(kind: Part) -> Part:
        register(kind())
        return kind

    return add


def metric(name: str, kind: str) -> Callable[[Part], Part]:
    """Register a metric of a kind of task: a function (targets y, predictions of the same shape) → score, the more the
    better.

    Of classification both are arrays [N] of classes, as indices in the order of the label set; of multilabel [N, C], 1
    where a text has a label and 0 where not; of regression [N] numbers; of tagging lists of N arrays, the tags of a
    text's words as indices.

    Raises:
        ValueError: there is no such kind, it has a metric of this name, or takes none.

    >>> from policylearn import metric
    >>> @metric("first_class_recall", kind="classification")
    ... def first_class_recall(y, predicted):
    ...     return float((predicted[y == 0] == 0).mean())
    """
    if kind == QUESTIONS:
        raise ValueError(f"metrics of {kind} are methods of its own: register one for another kind")
    if name in (own := KINDS.get(kind).metrics):
        raise ValueError(f"task.kind {kind!r} has a metric {name!r} already, beside {', '.join(own)}: choose another")
    return METRICS.register(f"{kind}.{name}", Origin.of(sys._getframe(1)))


def objective(name: str) -> Callable[[Part], Part]:
    """Register a function problem → `policylearn.inner.objectives.Objective`."""
    return OBJECTIVES.register(name, Origin.of(sys._getframe(1)))


def estimator(name: str) -> Callable[[Part], Part]:
    """Register a function (problem, policy, seed) → trainings of all steps, see `policylearn.learning.rollout`."""
    return ESTIMATORS.register(name, Origin.of(sys._getframe(1)))
