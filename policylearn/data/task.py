"""Labelled tasks: split files or a data set, read and checked before anything is trained."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import pstdev
from typing import Any

import numpy as np

from policylearn.config import TaskConfig
from policylearn.data.carve import carve
from policylearn.data.formats import Record
from policylearn.data.labels import (
    check_labels,
    check_sets_differ,
    check_spelling,
    class_of,
    classes_of,
    in_order,
    number_of,
)
from policylearn.data.opened import OpenTask, open_task
from policylearn.data.pairs import text_columns
from policylearn.data.records import check_records
from policylearn.data.tokens import Text
from policylearn.messages.quote import quote, some

CARVED = ("dev", "test")
ROUNDED = 0.01
"""Standard deviations by which a number may be off in single precision, in which models compute."""


@dataclass(frozen=True)
class Split:
    """Texts, or pairs of them, and their labels, row by row: names of classes, or numbers.

    plain: of texts that are words with a tag each, what they are as one text; None: they are texts.
    """

    texts: Sequence[Text]
    labels: list[Any]
    plain: Sequence[str] | None = None

    def take(self, rows: Sequence[int]) -> "Split":
        """Some of the rows."""
        plain = None if self.plain is None else [self.plain[i] for i in rows]
        return Split([self.texts[i] for i in rows], [self.labels[i] for i in rows], plain)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Task:
    """The splits by name (train, dev, test and any extra test sets) and the label set, in a fixed order.

    carved: what to say of splits that were carved off train; None: all were there.
    unread: columns that the rows of train have beside text and label.
    columns: of the text, or two of the texts of a pair.
    torn: what to say of spans that do not begin and end where words do.
    """

    splits: dict[str, Split]
    labels: list[str]
    carved: str | None = None
    unread: tuple[str, ...] = ()
    columns: tuple[str, ...] = ("text",)
    torn: str | None = None


def load_task(config: TaskConfig, opened: OpenTask | None = None) -> Task:
    """Read every split of a task, which may be open already; dev and test are carved off train where there are none.

    Raises:
        ValueError: a split is missing or empty, a column is not there, a text is no text, or a label is no class or
            lies outside the label set, each with the row and what would be valid.
    """
    read, more = _read(config, opened or open_task(config), class_of)
    chosen = check_repeats(config)
    labels = chosen or in_order(read["train"].labels)
    check_spelling(labels)
    for name, split in read.items():
        check_labels(split.labels, labels, bool(chosen), f"task.path {config.path}: split {name!r}")
    if len(labels) < 2:
        raise ValueError(f"task.path {config.path}: a task needs at least two labels, train has {labels}")
    rows = carve_missing(config, read, read["train"].texts, read["train"].labels)
    return Task(read | taken(read["train"], rows), labels, carved_line(config, rows), *more)


def load_label_sets(config: TaskConfig, opened: OpenTask | None = None) -> Task:
    """The same of a task whose rows have lists of labels, which may be empty.

    Raises:
        ValueError: as `load_task`, or a row has no list, the label set is of fewer than two, or all rows of train have
            the same labels, or no row of a split has any.
    """
    read, more = _read(config, opened or open_task(config), classes_of)
    labels = check_repeats(config) or in_order(label for found in read["train"].labels for label in found)
    check_spelling(labels)
    for name, split in read.items():
        for row, found in enumerate(split.labels):
            if unknown := [label for label in found if label not in labels]:
                raise ValueError(
                    f"task.path {config.path}: split {name!r}, row {row}: label {quote(unknown[0])} is not in the "
                    f"label set {some(labels)}; mend the row or set task.labels"
                )
    if len(labels) < 2:
        raise ValueError(f"task.path {config.path}: a task needs at least two labels, train has {labels}")
    check_sets_differ(read["train"].labels, f"task.path {config.path}: split 'train'")
    rows = carve_missing(config, read, read["train"].texts, [""] * len(read["train"]))
    splits = read | taken(read["train"], rows)
    if bare := [name for name, split in splits.items() if not any(split.labels)]:
        raise ValueError(
            f"task.path {config.path}: no row of split {bare[0]!r} has a label; mend it or, if its labels are kept "
            "back, name another with task.splits"
        )
    return Task(splits, labels, carved_line(config, rows, ""), *more)


def load_numbers(config: TaskConfig, opened: OpenTask | None = None) -> Task:
    """The same of a task whose labels are numbers; there is no label set.

    Raises:
        ValueError: as `load_task`, or a label is no number, or all of a split are the same.
    """
    read, more = _read(config, opened or open_task(config), number_of)
    rows = carve_missing(config, read, read["train"].texts, [""] * len(read["train"]))
    splits = read | taken(read["train"], rows)
    for name, split in splits.items():
        with np.errstate(over="ignore"):
            off = np.abs(np.array(split.labels, dtype=np.float32) - np.array(split.labels)).max()
        if off > ROUNDED * pstdev(split.labels):
            raise ValueError(
                f"task.path {config.path}: the numbers of split {name!r}, {min(split.labels):g} to "
                f"{max(split.labels):g}, lie so close for their size that single precision cannot tell them apart: "
                "subtract their mean, or divide them"
            )
        if len(set(split.labels)) < 2:
            raise ValueError(
                f"task.path {config.path}: split {name!r} needs two different numbers, it has {split.labels[0]:g} "
                "alone; mend it or, if its labels are kept back, name another with task.splits"
            )
    return Task(splits, [], carved_line(config, rows, ""), *more)


def check_repeats(config: TaskConfig) -> list[str]:
    """Names of the classes in `task.labels`; none where it is unset. ValueError: it names one twice."""
    chosen = [class_of(label, "task.labels") for label in config.labels or []]
    if twice := [label for label in chosen if chosen.count(label) > 1]:
        raise ValueError(f"task.labels names {quote(twice[0])} twice: a class is named once")
    return chosen


def read_splits(
    config: TaskConfig, opened: OpenTask, settings: Mapping[str, str], texts: Sequence[str]
) -> tuple[dict[str, list[Record]], tuple[str, ...]]:
    """Records of train, of dev and test if they are there, and of all extra tests: the columns asked for, checked; and
    the names of the columns that nobody asked for in train.

    Args:
        config: where they are, for messages.
        opened: they themselves.
        settings: the columns every record must have → the settings that name them.
        texts: those of the columns that hold texts.

    Raises:
        ValueError: a split is empty; or as `check_records`.
    """
    read: dict[str, list[Record]] = {name: [] for name in opened.splits}
    others: set[str] = set()
    for name, rows in opened.splits.items():
        where = f"task.path {config.path}: split {name!r}"
        for record in check_records(rows, settings, where, settings, texts):
            read[name].append({column: record[column] for column in settings})
            others |= record.keys() - settings.keys() if name == "train" else set()
        if not read[name]:
            raise ValueError(f"{where} is empty")
    return read, tuple(sorted(others))


def carve_missing(
    config: TaskConfig, found: Iterable[str], texts: Sequence[Text], labels: Sequence[str]
) -> dict[str, list[int]]:
    """Row numbers in train of the splits that are carved off it, and of what remains; empty if none is missing."""
    shares = {"dev": config.dev_share, "test": config.test_share}
    if not (missing := {name: shares[name] for name in CARVED if name not in found}):
        return {}
    try:
        return carve([text if isinstance(text, str) else "\n".join(text) for text in texts], labels, missing)
    except ValueError as error:
        raise ValueError(f"task.path {config.path} has no split {' or '.join(missing)}, and {error}") from None


def carved_line(
    config: TaskConfig, rows: Mapping[str, Sequence[int]], proportion: str = ", labels in proportion"
) -> str | None:
    """What was carved, in a line; None: nothing. `proportion`: of what, if rows were dealt by it."""
    if not (names := [name for name in CARVED if name in rows]):
        return None
    parts = " and ".join(f"{len(rows[name]):,} for {name} (task.{name}_share)" for name in names)
    return (
        f"{config.path} has no {' and no '.join(names)}: of its {sum(map(len, rows.values())):,} rows {parts} are "
        f"carved off, by a hash of their texts{proportion}"
    )


def _read(
    config: TaskConfig, opened: OpenTask, label: Callable[[Any, str], Any]
) -> tuple[dict[str, Split], tuple[tuple[str, ...], tuple[str, ...]]]:
    """Splits by name; columns that nobody asked for, and those of texts. `label` reads the column of the label."""
    columns = text_columns(config, opened.head)
    settings = {**dict.fromkeys(columns, "task.text"), config.label: "task.label"}
    records, unread = read_splits(config, opened, settings, columns)
    splits = {name: _split(config, name, rows, columns, label) for name, rows in records.items()}
    return splits, (unread, columns)


def _split(
    config: TaskConfig, name: str, records: Sequence[Record], columns: Sequence[str], read: Callable[[Any, str], Any]
) -> Split:
    where = f"task.path {config.path}: split {name!r}"
    labels = [read(record[config.label], f"{where}, row {row}") for row, record in enumerate(records)]
    texts = [tuple(record[column] for column in columns) for record in records]
    return Split(texts if len(columns) > 1 else [text for (text,) in texts], labels)


def taken(split: Split, rows: Mapping[str, Sequence[int]]) -> dict[str, Split]:
    """The splits that are carved off one, by their row numbers."""
    return {name: split.take(picked) for name, picked in rows.items()}
