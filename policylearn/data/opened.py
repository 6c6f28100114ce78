"""A task's data set, opened once: what its rows are is seen from the first of them, before all are read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from policylearn.config import TaskConfig
from policylearn.data.formats import Record
from policylearn.data.splits import SPLITS, missing_split, task_splits

HEAD = 1000
"""Rows that are looked at first."""


@dataclass(frozen=True)
class OpenTask:
    """The splits that there are by name, each to be read once; `head` are the first rows of train."""

    splits: Mapping[str, Iterable[Record]]
    head: Sequence[Record]


def open_task(config: TaskConfig) -> OpenTask:
    """Open train, all extra tests, and dev and test if they are there.

    Raises:
        ValueError: train or an extra test is missing, or a file cannot be read.
    """
    found = task_splits(config, [*SPLITS, *config.extra_tests])
    if missing := [name for name in ("train", *config.extra_tests) if name not in found]:
        raise missing_split(config.path, missing[0])
    splits = {name: iter(rows()) for name, rows in found.items()}
    head = list(islice(splits["train"], HEAD))
    return OpenTask({**splits, "train": chain(head, splits["train"])}, head)
