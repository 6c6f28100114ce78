"""Labelled tasks: a folder of split files or a Hub data set, read and checked before anything is trained."""

from dataclasses import dataclass

from policylearn.config import TaskConfig
from policylearn.data.records import read_records, split_source

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Split:
    """Texts and their labels, row by row."""

    texts: list[str]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Task:
    """The splits by name (train, dev, test and any extra test sets) and the label set, in a fixed order."""

    splits: dict[str, Split]
    labels: list[str]


def load_task(config: TaskConfig) -> Task:
    """Read every split of a task.

    Raises:
        ValueError: a split is missing or empty, a column is not there, or a label lies outside the label
            set, each with the row and what would be valid.
    """
    splits = {name: _load_split(config, name) for name in (*SPLITS, *config.extra_tests)}
    labels = config.labels or sorted(set(splits["train"].labels) - {""})
    for name, split in splits.items():
        _check_labels(config, name, split, labels)
    if len(labels) < 2:
        raise ValueError(f"task.path {config.path}: a task needs at least two labels, train has {labels}")
    return Task(splits, labels)


def _load_split(config: TaskConfig, name: str) -> Split:
    texts, labels = [], []
    for record in read_records(
        split_source(config.path, name), (config.text, config.label), split=name, key="task.path"
    ):
        texts.append(str(record[config.text]))
        labels.append(str(record[config.label]))
    if not texts:
        raise ValueError(f"task.path {config.path}: split {name!r} is empty")
    return Split(texts, labels)


def _check_labels(config: TaskConfig, name: str, split: Split, labels: list[str]) -> None:
    for row, label in enumerate(split.labels):
        if label not in labels:
            raise ValueError(
                f"task.path {config.path}: split {name!r}, row {row}: label {label!r} is not in the label set "
                f"{labels}; mend the row or set task.labels"
            )
