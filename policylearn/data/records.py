"""Records out of files and Hub data sets, one at a time.

JSON lines are read directly, in constant memory and without any dependency. Everything else (csv, parquet,
text, Hub names) goes through `datasets`, imported only then.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from glob import glob, has_magic
from pathlib import Path
from typing import Any

SUFFIXES = (".jsonl.gz", ".jsonl", ".csv", ".parquet", ".txt")
BUILDERS = {".csv": "csv", ".parquet": "parquet", ".txt": "text"}


def find_split(folder: str, name: str) -> str:
    """The file of one split in a folder: `train.jsonl.gz`, `train.csv`, …

    Raises:
        ValueError: there is none.
    """
    for suffix in SUFFIXES:
        if (path := Path(folder) / f"{name}{suffix}").is_file():
            return str(path)
    raise ValueError(f"{folder} has no file for split {name!r}; looked for {name} with {', '.join(SUFFIXES)}")


def split_source(path: str, name: str) -> str:
    """Where a split of a task is read from: its file in a folder, or a Hub data set; raises as `find_split`."""
    return find_split(path, name) if Path(path).is_dir() else path


def matching_files(source: str, key: str = "path") -> list[str]:
    """The files that a pattern such as `texts/*.jsonl.gz` matches, in alphabetical order; what is no pattern stays as
    it is.

    Raises:
        ValueError: the pattern matches nothing.

    >>> matching_files("org/dataset")
    ['org/dataset']
    """
    if not has_magic(source):
        return [source]
    if not (found := sorted(glob(source, recursive=True))):
        raise ValueError(f"{key} {source} matches no file")
    return found


def read_records(
    source: str, columns: tuple[str, ...], *, split: str = "train", key: str = "path"
) -> Iterator[dict[str, Any]]:
    """Stream the records of a file or Hub data set.

    Args:
        source: a file with one of the known endings, or a Hub name.
        columns: columns every record must have.
        split: which split of a Hub data set.
        key: name of the setting `source` came from, for error messages.

    Raises:
        ValueError: the source does not exist, a line is not JSON, or a column is not there.
    """
    path = Path(source)
    if path.is_dir():
        raise ValueError(f"{key} {source} is a folder; name one file in it, or give task.path a folder of splits")
    if not path.is_file() and (path.is_absolute() or source.startswith(".") or source.endswith(SUFFIXES)):
        raise ValueError(f"{key} {source} does not exist")
    lines = source.endswith((".jsonl", ".jsonl.gz"))
    rows = _json_lines(path, key) if lines else _from_datasets(source, split, key)
    for number, row in enumerate(rows):
        missing = [column for column in columns if column not in row]
        if missing:
            raise ValueError(f"{key} {source}, row {number}: no column {missing[0]!r}; it has {sorted(row)}")
        if empty := [column for column in columns if row[column] is None]:
            raise ValueError(f"{key} {source}, row {number}: column {empty[0]!r} is null; fill it or drop the row")
        yield row


def _json_lines(path: Path, key: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_lines(path, key)):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{key} {path}, line {number + 1} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{key} {path}, line {number + 1} is not a JSON object")
        yield row


def _lines(path: Path, key: str) -> Iterator[str]:
    open_text = gzip.open if path.suffix == ".gz" else open
    try:
        with open_text(path, "rt", encoding="utf-8") as lines:
            yield from lines
    except (EOFError, OSError, UnicodeDecodeError, zlib.error) as error:  # storage boundary
        raise ValueError(f"{key} {path} is damaged or not in UTF-8: {error}") from error


def _from_datasets(source: str, split: str, key: str) -> Iterator[dict[str, Any]]:
    try:
        import datasets
    except ImportError:
        raise ValueError(f"{key} {source}: reading it needs `datasets`; pip install 'policylearn[train]'") from None
    builder = BUILDERS.get(Path(source).suffix)
    hub_split = "validation" if split == "dev" and builder is None else split
    try:
        if builder:
            # Else pandas takes words such as "NA" and "None" for missing values.
            options = {"keep_default_na": False} if builder == "csv" else {}
            return iter(datasets.load_dataset(builder, data_files=source, split="train", **options))
        return iter(datasets.load_dataset(source, split=hub_split, streaming=True))
    except Exception as error:  # storage boundary: the Hub fails in many ways, the user needs one line
        raise ValueError(f"{key} {source!r} is neither a file nor a Hub data set I can read: {error}") from error
