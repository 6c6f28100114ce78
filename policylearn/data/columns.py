"""Numbers on the tokens of the domain corpus, out of a column of its records: entities, parts of speech, own scores.

A value of such a column is either of

- a list with one item per word of the text, words being what `text.split()` gives:
  text "aspirin helps", value ["B-Drug", "O"];
- a list of character spans [start, end] or [start, end, item], end exclusive:
  text "aspirin helps", value [[0, 7, "Drug"]]; characters outside of all spans have 0;
- null: nothing is known of this text, its tokens have NaN.

A `Column` makes a number of every item.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from policylearn.config import Config, ScoresConfig
from policylearn.config.scores import scorer_of
from policylearn.data.lists import list_of
from policylearn.data.planted_context import USEFUL
from policylearn.data.tokens import Annotated, TokenRows
from policylearn.messages.quote import quote, some
from policylearn.protocols import Rows

COLUMN_SCORERS = {
    "column": "scores.column.name",
    "entity": "scores.entity.column",
    "oracle-context": "",
    "pos_column": "scores.pos_column.name",
}
"""Those that read a column, or may: with the setting that names it."""
WORD = re.compile(r"\S+")
NO_ENTITY = ("O", "", None, 0)


@dataclass(frozen=True)
class Column:
    """A column of the records, and how its items become numbers.

    Attributes:
        name: of the column.
        weigh: item → number; NaN for what is no proper item. A span without an item has the item 1.
        expected: what is a proper item, for messages.
        given: the setting that names it, of one that a given policy alone reads, and records may lack.
    """

    name: str
    weigh: Callable[[Any], float]
    expected: str
    given: str | None = None

    def at(self, row: int) -> str:
        """Where something is wrong, for messages."""
        whose = f", which a given policy reads (set {self.given} to another)" if self.given else ""
        return f"column {self.name!r}{whose}, row {row}"


def columns_of(scorers: Iterable[str], config: ScoresConfig) -> dict[str, Column]:
    """The columns of those of the given scorers that read one, by scorer: entity, pos_column,
    column and oracle-context.

    `entity` has none where `scores.entity.column` is not set.
    """
    known = {
        "pos_column": Column(
            config.pos_column.name,
            partial(_weight_of, weights=config.pos_column.weights),
            "a part-of-speech tag (a string)",
        ),
        "column": Column(config.column.name, _number, "a finite number"),
        "oracle-context": Column(USEFUL, _number, "a finite number"),
    }
    if config.entity.column is not None:
        known["entity"] = Column(config.entity.column, _is_entity, "a tag: a string, a whole number or null")
    return {name: known[name] for name in scorers if name in known}


def scorers_named(config: Config) -> set[str]:
    """Those that `policy.prior` and `evaluate.arms` name."""
    return {scorer_of(name) for name in (*config.policy.prior, *config.evaluate.arms)}


def columns_apart(rows: Rows, config: Config) -> tuple[Rows, dict[str, np.ndarray]]:
    """Rows without the columns that given policies or custom arms alone read, and these: they are of the masks of
    such an arm, and no part of the data that it shares with others."""
    if not isinstance(rows, TokenRows) or not (apart := rows.columns.keys() - scorers_named(config)):
        return rows, {}
    common = {name: values for name, values in rows.columns.items() if name not in apart}
    return replace(rows, columns=common), {name: rows.columns[name] for name in sorted(apart)}


def _is_entity(tag: Any) -> float:
    if tag is not None and not isinstance(tag, str | int):
        return np.nan
    return float(tag not in NO_ENTITY)


def _weight_of(tag: Any, weights: Mapping[str, float]) -> float:
    return weights.get(tag, 0.0) if isinstance(tag, str) else np.nan


def _number(item: Any) -> float:
    return float(item) if isinstance(item, Real) else np.nan


def read_columns(records: Iterable[tuple[str, dict[str, Any]]], columns: dict[str, Column]) -> Iterator[Annotated]:
    """Texts with the numbers of their characters, for `data.tokens.tokenize_annotated`.

    Args:
        records: a stream of texts and their records.
        columns: by the name each is to have; see `columns_of`.

    Raises:
        ValueError: a record lacks a column that is not of a given policy alone, or has a wrong value in it.
    """
    for row, (text, record) in enumerate(records):
        yield text, {name: _read(text, record, column, row) for name, column in columns.items()}


def _read(text: str, record: dict[str, Any], column: Column, row: int) -> np.ndarray:
    if column.name not in record and column.given is None:
        raise ValueError(f"domain row {row} has no column {column.name!r}; it has {some(record)}")
    return character_values(text, record.get(column.name), column, row)


def character_values(text: str, value: Any, column: Column, row: int) -> np.ndarray:
    """The number of every character of a text, float32; characters between words have 0.

    Args:
        text: the text.
        value: what the record has in the column: see above.
        column: the column.
        row: of the record, for messages.

    Raises:
        ValueError: the value has another format, its length is not the number of words, a span lies outside of the
            text, or an item is not what is expected.

    >>> tags = columns_of(["entity"], ScoresConfig(entity={"column": "tags"}))["entity"]
    >>> character_values("in A b", ["O", "B-Drug", "O"], tags, row=0)
    array([0., 0., 0., 1., 0., 0.], dtype=float32)
    >>> character_values("in A b", [[5, 6]], tags, row=0)
    array([0., 0., 0., 0., 0., 1.], dtype=float32)
    """
    if value is None:
        return np.full(len(text), np.nan, dtype=np.float32)
    where = column.at(row)
    spans = _spans(text, value, where)
    numbers = np.zeros(len(text), dtype=np.float32)
    for start, end, item in spans:
        number = column.weigh(item)
        if not np.isfinite(number):
            raise ValueError(f"{where}: item {quote(item)} is not {column.expected}")
        numbers[start:end] = number
    return numbers


def _spans(text: str, value: Any, where: str) -> list[tuple[int, int, Any]]:
    """The value as (start, end, item) in characters."""
    if (items := list_of(value)) is None:
        raise ValueError(
            f"{where}: expected a list with an item per word, or of [start, end, item], got {quote(value)}"
        )
    if any(isinstance(item, list | tuple | np.ndarray) for item in items):
        return [_span(text, span, where) for span in items]
    words = [match.span() for match in WORD.finditer(text)]
    if len(items) not in (0, len(words)):
        raise ValueError(
            f"{where}: {len(items)} items for {len(words)} words; expected one item for each word of text.split(), "
            "or character spans [start, end, item]"
        )
    return [(*word, item) for word, item in zip(words, items, strict=False)]


def _span(text: str, span: Any, where: str) -> tuple[int, int, Any]:
    formed = isinstance(span, list | tuple | np.ndarray) and len(span) in (2, 3)
    if not formed or not all(isinstance(place, int | np.integer) for place in span[:2]):
        raise ValueError(f"{where}: {quote(span)} is not a span [start, end] or [start, end, item]")
    start, end = int(span[0]), int(span[1])
    if not 0 <= start < end <= len(text):
        raise ValueError(
            f"{where}: span [{start}, {end}] lies outside of the text, which has {len(text)} characters; expected "
            f"0 <= start < end <= {len(text)}"
        )
    return start, end, span[2] if len(span) == 3 else 1
