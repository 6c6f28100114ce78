"""Answers to questions as spans of the texts they stand in; the questions themselves are not looked at."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from policylearn.config import Config, SupervisedConfig
from policylearn.data.benchmarks import BENCHMARKS
from policylearn.data.formats import Record
from policylearn.data.lists import list_of
from policylearn.data.records import check_records, is_null
from policylearn.data.splits import find_split, rows_of
from policylearn.data.text import whole
from policylearn.data.tokens import Annotated
from policylearn.messages.quote import quote

TARGET = "target"
"""Column of a target's number: 1, 2, … within its text, 0 where a token is none."""
Span = tuple[int, int]
UNSAID = "is_impossible"
"""The column that says so where there is an answer to some questions alone; another one has to be there."""
YES, NO = ("true", "1", "yes"), ("false", "0", "no", "")


def answer_texts(config: SupervisedConfig, split: str) -> list[Annotated]:
    """Every text of a split that has an answer, once, with the numbers of all answers to its questions.

    Raises:
        ValueError: there is no such file or column, an answer is not where it is said to be, or no row has one.
    """
    assert config.path is not None, "the config sees to it"
    named = {name: getattr(config, name) for name in ("text", "answers", "answer_start", "impossible")}
    settings = {column: f"supervised.{name}" for name, column in named.items() if column is not None}
    found = rows_of(find_split(config.path, split, "supervised.path"), "supervised.path")
    rows, where = (_columns(config, row) for row in found), f"supervised.path {config.path}: split {split!r}"
    nullable = () if config.impossible is None else (config.impossible,)
    checked = check_records(rows, settings, where, settings, [config.text], nullable)
    if not (texts := _joined(answer_spans(checked, config, split))):
        raise ValueError(f"supervised.path {config.path}: no row of {split} has an answer")
    return texts


def _columns(config: SupervisedConfig, row: Record) -> Record:
    """A row with the columns that are set, which SQuAD has otherwise: in its own file answers are records of text and
    answer_start, on the Hub one record of two lists; and where all questions have an answer nothing says so."""
    if config.impossible == UNSAID:
        row = {UNSAID: False, **row}
    found = row.get(config.answers)
    records: list[Any] = found if isinstance(found, list) else [found]
    if not records:
        return {config.answer_start: [], **row}
    if not all(isinstance(one, Mapping) and {"text", "answer_start"} <= one.keys() for one in records):
        return row
    texts, starts = ([one[name] for one in records] for name in ("text", "answer_start"))
    lists = {config.answers: texts, config.answer_start: starts}
    return row | (lists if isinstance(found, list) else {name: values[0] for name, values in lists.items()})


def planted_texts(config: Config, split: str) -> list[Annotated]:
    """The same of the planted benchmark that `supervised.path` names.

    Raises:
        ValueError: it has no questions, or the task is another benchmark, whose tokenizer knows none of its words.
    """
    name, task = config.supervised.path, config.task.path
    assert name is not None, "whoever calls has seen to it"
    if (answers := BENCHMARKS[name].answers) is None:
        known = ", ".join(f'"{one}"' for one, benchmark in BENCHMARKS.items() if benchmark.answers)
        raise ValueError(f'supervised.path "{name}" is a benchmark without questions; {known} has some')
    if task in BENCHMARKS and task != name:
        raise ValueError(f'supervised.path "{name}" has other words than task.path "{task}": set both to one of them')
    return _joined(answers(config, split))


def _joined(found: Iterable[tuple[str, list[Span]]]) -> list[Annotated]:
    """Every text once, with all its answers."""
    spans: dict[str, list[Span]] = {}
    for text, some in found:
        spans.setdefault(text, []).extend(some)
    return [(text, {TARGET: numbered(len(text), every)}) for text, every in spans.items()]


def answer_spans(
    rows: Iterable[dict[str, Any]], config: SupervisedConfig, split: str
) -> Iterator[tuple[str, list[Span]]]:
    """Text and answers [start, end), in characters, of every row that has some; raises as `answer_texts`."""
    for number, row in enumerate(rows):
        where, text = f"{split}, row {number}", row[config.text]
        if config.impossible and _truth(row[config.impossible], f"{where}: column {config.impossible!r}"):
            continue
        answers, starts = (
            _items(row[name], f"{where}: column {name!r}") for name in (config.answers, config.answer_start)
        )
        if len(answers) != len(starts):
            raise ValueError(f"{where}: {len(answers)} answers, and {len(starts)} places of them")
        for answer, start in zip(answers, starts, strict=True):
            typed = isinstance(answer, str) and isinstance(start, int) and not isinstance(start, bool)
            if not (typed and answer and start >= 0 and text.startswith(answer, start)):
                raise ValueError(
                    f"{where}: the answer {quote(answer)} does not stand at character {quote(start)} of its text; "
                    f"columns {config.answers!r} and {config.answer_start!r} must agree"
                )
        if answers:
            yield text, [(start, start + len(answer)) for answer, start in zip(answers, starts, strict=True)]


def _items(value: Any, where: str) -> list[Any]:
    if (items := list_of(value)) is None:
        raise ValueError(f"{where} holds a {type(value).__name__}, not a list: {quote(value)}")
    return [_item(item) for item in items]


def _item(item: Any) -> Any:
    """An answer, or where one begins: of a column that lacks some, data frames make fractions."""
    if isinstance(item, Real) and not isinstance(item, int) and float(item).is_integer():
        return int(float(item))
    return whole(item) if isinstance(item, str) else item


def _truth(value: Any, where: str) -> bool:
    """Whether a column says yes, which in .csv is a word; null says nothing, and so no."""
    if is_null(value):
        return False
    said = str(value).strip().lower()
    if said not in (*YES, *NO):
        raise ValueError(f"{where} holds {quote(value)}, which is neither true nor false")
    return said in YES


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
