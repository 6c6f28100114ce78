"""What kind of task rows are of, where the config leaves it to them."""

import math
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from policylearn.config import TaskConfig
from policylearn.data.formats import Record
from policylearn.data.labels import is_rating
from policylearn.data.lists import list_of
from policylearn.data.tags import are_tagged, columns_of
from policylearn.registry.registry import AUTO

LABEL, LABELS = "label", "labels"
TWO = 2
"""Different numbers, of which nobody thinks that they are amounts."""


def with_kind(config: TaskConfig, head: Sequence[Record]) -> tuple[TaskConfig, str]:
    """The settings with a kind and its metric, and what the kind was inferred from; nothing if it was set.

    Args:
        config: of the task.
        head: the first rows of train.

    Raises:
        ValueError: the metric that is set is none of the kind.
    """
    if config.kind != AUTO:
        return config, ""
    label = label_column(config, head)
    kind, why = inferred_kind(config.model_copy(update={"label": label}), head)
    try:
        return TaskConfig.model_validate(config.model_dump() | {"kind": kind, "label": label}), why
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"{said}; the kind is inferred ({why}), task.kind sets another") from None


def label_column(config: TaskConfig, head: Sequence[Record]) -> str:
    """That of `task.label`; where rows do not have the usual one, `labels`, if it holds lists."""
    others = config.label == LABEL and head and LABEL not in head[0] and list_of(head[0].get(LABELS)) is not None
    return LABELS if others else config.label


def inferred_kind(config: TaskConfig, head: Sequence[Record]) -> tuple[str, str]:
    """The kind that rows are of, and why; what is in doubt is classification, as whole numbers are.

    >>> def of(*labels):
    ...     return inferred_kind(TaskConfig(path="x"), [{"text": "a", "label": label} for label in labels])
    >>> of("spam", "ham"), of(["joy"], [])
    (('classification', 'a label each'), ('multilabel', 'lists of labels'))
    >>> of('["joy"]', "[]", "")[0], of(5.0, 3.8)[0], of("3.5", "n/a")[0]
    ('multilabel', 'regression', 'classification')
    >>> of(1, 2, 5)
    ('classification', 'whole numbers, taken for classes; if they are amounts, set task.kind="regression"')
    """
    if are_tagged(config, head):
        return "tagging", f"{' and '.join(columns_of(config, head))}, a tag for every word"
    labels = [row[config.label] for row in head if not _is_blank(row.get(config.label))]
    if labels and all(list_of(label) is not None for label in labels):
        return "multilabel", "lists of labels" if config.label != LABELS else "lists in the column labels"
    if config.labels is None and labels and all(map(_is_number, labels)):
        if any(is_rating(str(label)) for label in labels):
            return "regression", "numbers with fractions"
        if len(set(map(float, labels))) > TWO:
            doubt = 'whole numbers, taken for classes; if they are amounts, set task.kind="regression"'
            return "classification", doubt
    return "classification", "a label each"


def _is_blank(label: Any) -> bool:
    """Whether a row has no label, which is for who reads the rows to refuse."""
    return label is None or (isinstance(label, str) and not label.strip())


def _is_number(label: Any) -> bool:
    if isinstance(label, bool) or not isinstance(label, str | int | float):
        return False
    try:
        return math.isfinite(float(label))
    except (ValueError, OverflowError):  # a string that spells no number; a whole number beyond all others
        return False
