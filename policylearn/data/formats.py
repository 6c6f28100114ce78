"""Files as records, one at a time: JSON lines, JSON, comma or tab separated cells, lines of text, Parquet.

All but a JSON array, which is held as a whole, are read in constant memory. What is no Parquet may be gzipped and is in
UTF-8, with or without a byte order mark. The cells of .csv and .tsv are texts: `01` stays `01`.
"""

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from policylearn.data.class_names import classes_of, with_names
from policylearn.messages.quote import quote, some

Record = dict[str, Any]
NEEDS = "pip install 'policylearn[train]'"


def format_of(path: Path) -> str | None:
    """The ending by which a file is read, in small letters and without .gz; None where it is not known.

    >>> format_of(Path("A.JSONL.gz")), format_of(Path("train.tsv")), format_of(Path("a.parquet.gz"))
    ('.jsonl', '.tsv', None)
    """
    name = path.name.lower()
    ending = Path(name.removesuffix(".gz")).suffix
    known = ending in READERS and not (name.endswith(".gz") and ending == PARQUET)
    return ending if known else None


def stem_of(path: Path) -> str:
    """The name of a file of a known format without its ending, in small letters.

    >>> stem_of(Path("data/Train.csv.gz"))
    'train'
    """
    return path.name.lower().removesuffix(".gz").removesuffix(format_of(path) or "")


def read_file(path: Path, key: str) -> Iterator[Record]:
    """The records of a file; those of .txt have its lines as "text".

    Args:
        path: of the file.
        key: the setting it came from, for messages.

    Raises:
        ValueError: the ending is not known, or the file is damaged, not in UTF-8, or not of its format; with the line.
    """
    ending = format_of(path)
    if ending is None:
        raise ValueError(f"{key} {path}: the ending is not known; name it one of {', '.join(ENDINGS)}")
    return READERS[ending](path, f"{key} {path}")


def read_lines(path: Path, where: str) -> Iterator[str]:
    """The lines of a file, without their ends, "\\n" or "\\r\\n" and no other; raises as `read_file`."""
    with _opened(path, where, newline="\n") as file:
        for line in file:
            yield line.removesuffix("\n").removesuffix("\r")


def _text(path: Path, where: str) -> Iterator[Record]:
    return ({"text": line} for line in read_lines(path, where))


def _json_lines(path: Path, where: str) -> Iterator[Record]:
    return _objects(enumerate(read_lines(path, where), 1), where)


def _objects(lines: Iterable[tuple[int, str]], where: str) -> Iterator[Record]:
    for number, line in lines:
        if line.strip():
            yield _object(_parsed(line, f"{where}, line {number}"), f"{where}, line {number}")


def _object(value: Any, where: str) -> Record:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is not a JSON object but {quote(value)}")
    return value


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON: {error}") from None


def _json(path: Path, where: str) -> Iterator[Record]:
    """An object a line, an array of objects, or {"data": array}."""
    lines = enumerate(read_lines(path, where), 1)
    head = list(islice((line for line in lines if line[1].strip()), 2))
    if not head:
        return
    if _is_record(head[0][1], alone=len(head) == 1):
        yield from _objects(chain(head, lines), where)
        return
    rows = _parsed("\n".join(line for _, line in chain(head, lines)), where)
    rows = rows.get("data", rows) if isinstance(rows, dict) else rows
    if not isinstance(rows, list):
        keys = f"an object of {some(rows)}" if isinstance(rows, dict) else quote(rows)
        raise ValueError(f'{where} is {keys}; expected an array of objects, {{"data": array}}, or an object a line')
    for number, row in enumerate(rows):
        yield _object(row, f"{where}, item {number}")


def _is_record(line: str, alone: bool) -> bool:
    """Whether a line by itself is a record, and not all of them under "data", beside which may be more where the line
    is `alone`."""
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return False
    if not isinstance(value, dict) or not isinstance(rows := value.get("data"), list):
        return isinstance(value, dict)
    return len(value) > 1 and not (alone and rows and all(isinstance(row, dict) for row in rows))


def _cells(delimiter: str, path: Path, where: str) -> Iterator[Record]:
    csv.field_size_limit(sys.maxsize)  # else a text has 131,072 characters at most
    with _opened(path, where, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = _header(next(reader, None), delimiter, where)
            for cells in filter(None, reader):
                yield _row(header, cells, delimiter, f"{where}, line {reader.line_num}")
        except csv.Error as error:
            raise ValueError(f"{where}, line {reader.line_num}: {error}; is a quotation mark left open?") from None


def _header(cells: list[str] | None, delimiter: str, where: str) -> list[str]:
    if not cells:
        raise ValueError(f"{where} is empty: its first line names the columns")
    others = [mark for mark in ";\t," if mark != delimiter and mark in cells[0]]
    if len(cells) == 1 and others:
        raise ValueError(f"{where}: columns are separated by {others[0]!r}; expected commas in .csv, tabs in .tsv")
    _check_names(cells, where)
    return cells


def _row(header: list[str], cells: list[str], delimiter: str, where: str) -> Record:
    if len(cells) != len(header):
        raise ValueError(
            f"{where}: {len(cells)} cells, but {len(header)} columns {some(header)}; quote cells that hold "
            f"{delimiter!r}"
        )
    if delimiter == "\t" and (broken := next((cell for cell in cells if "\n" in cell), None)):
        raise ValueError(
            f"{where}: a line break within the cell {quote(broken)}: a quotation mark opens it that perhaps is meant "
            "as one; write such texts as .csv or .jsonl"
        )
    return dict(zip(header, cells, strict=True))


def _check_names(names: Sequence[str], where: str) -> None:
    """Raises ValueError if two columns have one name."""
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(f"{where}: more than one column is named {quote(twice[0])}; rename all but one")


def _parquet(path: Path, where: str) -> Iterator[Record]:
    try:
        from pyarrow import ArrowException  # here only: whoever has JSON lines needs neither
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ValueError(f"{where}: reading it needs `pyarrow`; {NEEDS}") from None
    try:
        with ParquetFile(path) as file:
            _check_names(file.schema_arrow.names, where)
            classes = _classes_in(file.schema_arrow.metadata or {})
            batches = (batch.to_pylist() for batch in file.iter_batches(batch_size=1000))
            for number, row in enumerate(chain.from_iterable(batches)):
                yield with_names(row, classes, f"{where}, row {number}")
    except (ArrowException, OSError) as error:  # storage boundary
        raise ValueError(f"{where} cannot be read as Parquet: {error}") from error


def _classes_in(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Names of the classes of a file that `datasets` wrote, as the shards on the Hub are; none where what is written
    there is not its own."""
    try:
        found = json.loads(metadata.get(b"huggingface", b"{}"))
    except (ValueError, RecursionError):  # file boundary: any tool may write there
        return {}
    for key in ("info", "features"):
        found = found.get(key) if isinstance(found, dict) else None
    return classes_of(found if isinstance(found, dict) else None)


@contextmanager
def _opened(path: Path, where: str, newline: str | None = None) -> Iterator[IO[str]]:
    open_file: Callable[..., Any] = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with open_file(path, "rt", encoding="utf-8-sig", newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        with open_file(path, "rb") as lines:
            raise ValueError(f"{where}, {_not_utf8(lines)}") from error
    except (EOFError, OSError, zlib.error) as error:  # storage boundary
        raise ValueError(f"{where} cannot be read, or is damaged: {error}") from error


def _not_utf8(lines: Iterable[bytes]) -> str:
    """The first line that is not in UTF-8, and what to do."""
    for number, line in enumerate(lines, 1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            if number == 1 and (packed := next((kind for mark, kind in PACKED.items() if line.startswith(mark)), "")):
                return f"line 1: this is {packed}"
            wide = number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff"))
            return (
                f"line {number}: byte 0x{line[error.start]:02x} is not UTF-8, the encoding expected; convert the file, "
                f"if it is in {'UTF-16' if wide else 'Latin-1'} with: iconv -f {'utf-16' if wide else 'latin1'} "
                "-t utf-8 OLD > NEW"
            )
    raise AssertionError("some line is not in UTF-8")


PARQUET = ".parquet"
PACKED = {
    b"\x1f\x8b": "gzip, whatever its name ends in: unpack it, or let it end in .gz",
    b"PK\x03\x04": "a zip archive, whatever its name ends in: unpack it",
    b"BZh": "bzip2, whatever its name ends in: unpack it",
    b"\xfd7zXZ": "xz, whatever its name ends in: unpack it",
    b"(\xb5/\xfd": "zstd, whatever its name ends in: unpack it",
}
"""How files begin that are none of text, and what to do with them."""
READERS: dict[str, Callable[[Path, str], Iterator[Record]]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": partial(_cells, ","),
    ".tsv": partial(_cells, "\t"),
    ".txt": _text,
    PARQUET: _parquet,
}
ENDINGS = (*(f"{ending}{gz}" for ending in READERS if ending != PARQUET for gz in ("", ".gz")), PARQUET)
