"""Rows in whatever form they are given, and as lines of JSON."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from policylearn.data.class_names import classes_of
from policylearn.data.hub import named_rows
from policylearn.data.text import HALF
from policylearn.messages.quote import quote


def rows_of(given: Any, name: str) -> Iterator[Mapping[str, Any]]:
    """Rows of a table of any usual form: a list of rows, lists by column, a data frame, a data set. ValueError: columns
    are of different lengths, or a data set has a transform."""
    if hasattr(given, "columns"):
        given = _of_frame(given)
    if hasattr(given, "features"):
        check_transform(given, name)
        given = named_rows(given.with_format(None))
    if not isinstance(given, Mapping):
        yield from given
        return
    _check_columns(given, name)
    for values in zip(*given.values(), strict=True):
        yield dict(zip(given, values, strict=True))


def _check_columns(given: Mapping[str, Any], name: str) -> None:
    for column, values in given.items():
        if isinstance(values, str) or not hasattr(values, "__len__"):
            raise ValueError(f"{name}: column {quote(column)} is one value, {quote(values)}: give a list of rows")
    lengths = {column: len(values) for column, values in given.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{name}: columns of different lengths, {lengths}: give each as many values")


def _of_frame(given: Any) -> Any:
    """Lists by column of a data frame of pandas; rows of one of polars, or of a table of pyarrow."""
    if rows := getattr(given, "to_dicts", None) or getattr(given, "to_pylist", None):
        return rows()
    return given.to_dict("list")


def check_transform(rows: Any, name: str) -> None:
    """ValueError: a data set has one, which is lost where its rows are written down."""
    if getattr(rows, "format", {}).get("type") == "custom":
        raise ValueError(f"{name}: a data set with a transform cannot be written to the run's folder: use .map()")


def row_parts(rows: Any, name: str) -> Iterator[bytes]:
    """What the rows of a data set hold, how its classes are called, and of pictures the files, not what is in them.
    ValueError: a column holds what cannot be told from others, as pictures in lists."""
    if classes := classes_of(rows.features):
        yield json.dumps(classes).encode()
    files = [column for column, kind in rows.features.items() if getattr(kind, "decode", False)]
    for column in files:
        rows = rows.cast_column(column, type(rows.features[column])(decode=False))
    for row in rows:
        yield _line({key: value for key, value in row.items() if key not in files}, name, _plain_or_told)
        yield from (part for column in files for part in _file_parts(row[column]))


def _file_parts(file: Mapping[str, Any] | None) -> Iterator[bytes]:
    """Content of a file that a data set holds, or knows the place of; nothing of one that is missing, which is refused
    when it is read, with its row."""
    if file is not None:
        yield file["bytes"] if file["bytes"] is not None else Path(file["path"]).read_bytes()


def line_of(row: Any, name: str) -> bytes:
    """A row as a line of JSON. ValueError: it is none, or holds what JSON has not."""
    if not isinstance(row, Mapping):
        raise ValueError(f"{name}: a row is {quote(row)}; give rows such as {{'text': …, 'label': …}}, or texts")
    return _line(dict(row), name, _plain)


def _line(row: Mapping[str, Any], name: str, default: Callable[[Any], Any]) -> bytes:
    try:
        return _json(row, default)
    except TypeError as error:
        column = next((column for column, value in row.items() if not _writes(value, default)), "?")
        raise ValueError(
            f"{name}: column {quote(column)} of a row cannot be written as JSON: {error}; drop it, or write it as text"
        ) from None


def _json(row: Mapping[str, Any], default: Callable[[Any], Any]) -> bytes:
    """A line of it; halves of surrogate pairs, which UTF-8 has not, are escaped."""
    written = json.dumps(row, ensure_ascii=False, default=default)
    line = json.dumps(row, default=default) if HALF.search(written) else written
    return f"{line}\n".encode()


def _writes(value: Any, default: Callable[[Any], Any]) -> bool:
    try:
        json.dumps(value, default=default)
    except TypeError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy as JSON has them, dates as texts."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"it holds a {type(value).__name__}")


def _plain_or_told(value: Any) -> Any:
    """The same of what is written by `datasets`, which has more, and here only told from others. Not of any object:
    what `repr` says of most is where in memory they are."""
    return repr(value) if isinstance(value, bytes | Decimal | timedelta) else _plain(value)
