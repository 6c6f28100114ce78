"""Answers to questions as spans of the texts they stand in; the questions themselves are not looked at."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from policylearn.config import SupervisedConfig
from policylearn.data.records import find_split, read_records
from policylearn.data.tokens import Annotated

TARGET = "target"
"""Column of a target's number: 1, 2, … within its text, 0 where a token is none."""
Span = tuple[int, int]


def answer_texts(config: SupervisedConfig, split: str) -> list[Annotated]:
    """Every text of a split that has an answer, once, with the numbers of all answers to its questions.

    Raises:
        ValueError: there is no such file or column, an answer is not where it is said to be, or no row has one.
    """
    assert config.path is not None, "the config sees to it"
    columns = [config.text, config.answers, config.answer_start, *([config.impossible] if config.impossible else [])]
    rows = read_records(find_split(config.path, split), tuple(columns), split=split, key="supervised.path")
    spans: dict[str, list[Span]] = {}
    for text, found in answer_spans(rows, config, split):
        spans.setdefault(text, []).extend(found)
    if not spans:
        raise ValueError(f"supervised.path {config.path}: no row of {split} has an answer")
    return [(text, {TARGET: numbered(len(text), found)}) for text, found in spans.items()]


def answer_spans(
    rows: Iterable[dict[str, Any]], config: SupervisedConfig, split: str
) -> Iterator[tuple[str, list[Span]]]:
    """Text and answers [start, end), in characters, of every row that has some; raises as `answer_texts`."""
    for number, row in enumerate(rows):
        text, answers, starts = str(row[config.text]), row[config.answers], row[config.answer_start]
        if (config.impossible and row[config.impossible]) or not len(answers):
            continue
        if len(answers) != len(starts):
            raise ValueError(f"{split}, row {number}: {len(answers)} answers, and {len(starts)} places of them")
        for answer, start in zip(answers, starts, strict=True):
            if start < 0 or not answer or not text.startswith(answer, start):
                raise ValueError(
                    f"{split}, row {number}: the answer {answer!r} does not stand at character {start} of its text; "
                    f"columns {config.answers!r} and {config.answer_start!r} must agree"
                )
        yield text, [(start, start + len(answer)) for answer, start in zip(answers, starts, strict=True)]


def numbered(length: int, spans: Sequence[Span]) -> np.ndarray:
    """1, 2, … at the characters of spans [start, end), which are one where they overlap; float32 [length].

    >>> numbered(8, [(5, 7), (0, 2), (1, 3)])
    array([1., 1., 1., 0., 0., 2., 2., 0.], dtype=float32)
    """
    found, number, reached = np.zeros(length, dtype=np.float32), 0, -1
    for start, end in sorted(spans):
        number += start >= reached
        reached = max(reached, end)
        found[start:end] = number
    return found
