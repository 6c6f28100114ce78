"""Records out of files and data sets, one at a time, each with the columns that are asked for.

Files are read here (see `data.formats`), in constant memory; data sets on the Hub, and those saved to disk, through
`datasets`, imported only then.
"""

import difflib
import math
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from policylearn.config.places import no_file, not_found
from policylearn.data.formats import Record, format_of, read_file
from policylearn.data.hub import DATASETS, hub_splits, is_saved, pick, saved_rows
from policylearn.data.text import text_of
from policylearn.messages.quote import some

ALIASES = {"dev": ("dev", "validation", "valid", "val")}
PAIRS = {"sentence1": "sentence2", "premise": "hypothesis", "question1": "question2"}
"""Names that columns of the two texts of a pair often have."""
USUAL = {
    "text": ("text", "sentence", "content", "document", "body", "abstract", "question", "review", "tweet", *PAIRS),
    "label": ("label", "labels", "target", "class", "category", "intent", "topic", "sentiment", "y"),
}
"""Names that columns of texts and of labels often have."""
LABEL = "task.label"
"""The setting that names the latter."""
LABELLED = ", or name a split that has labels in task.splits (-1 of a ClassLabel is none)"


def names_of(split: str) -> tuple[str, ...]:
    """The names a split goes by, the nearest first.

    >>> names_of("dev"), names_of("test")
    (('dev', 'validation', 'valid', 'val'), ('test',))
    """
    return ALIASES.get(split, (split,))


def matching_files(source: str, key: str = "path") -> list[str]:
    """The files that a pattern such as `texts/*.jsonl.gz` matches, in alphabetical order; what is no pattern stays as
    it is.

    Raises:
        ValueError: the pattern matches nothing.

    >>> matching_files("org/dataset")
    ['org/dataset']
    """
    if not has_magic(source) or Path(source).exists():
        return [source]
    if not (found := sorted(glob(source, recursive=True))):
        raise ValueError(f"{key} {source} matches no file{not_found(source)}")
    return found


def read_records(
    source: str,
    columns: Iterable[str],
    *,
    split: str = "train",
    key: str = "path",
    configuration: str | None = None,
    revision: str | None = None,
    settings: Mapping[str, str] | None = None,
    text: str | None = None,
    nullable: Collection[str] = (),
) -> Iterator[Record]:
    """Stream the records of a file or data set.

    Args:
        source: a file with one of the known endings, a folder that `datasets` saved to disk, or a Hub name.
        columns: columns every record must have.
        split: which split of a data set.
        key: name of the setting `source` came from, for error messages.
        configuration, revision: of a Hub data set.
        settings: column → the setting that names it, for error messages.
        text: the one of the columns that holds texts, see `text_of`.
        nullable: those of the columns that may be null.

    Raises:
        ValueError: the source does not exist or cannot be read, a column is not there or null, or a text is none.
    """
    rows = open_rows(source, split, key, configuration, revision)
    texts = () if text is None else (text,)
    yield from check_records(rows, columns, f"{key} {source}", settings, texts, nullable)


def open_rows(
    source: str, split: str, key: str, configuration: str | None = None, revision: str | None = None
) -> Iterable[Record]:
    """The rows of a file or data set as they are; arguments and errors as in `read_records`."""
    path = Path(source)
    if path.is_dir():
        folder = path / split if (path / DATASETS).is_file() else path
        if not is_saved(folder):
            names = sorted(file.name for file in path.iterdir() if format_of(file))
            ending = "".join(Path(names[0]).suffixes[-2 if names[0].endswith(".gz") else -1 :]) if names else ".jsonl"
            raise ValueError(
                f"{key} {source} is a folder; name one file in it, or several by a pattern such as {source}/*{ending}"
            )
        return saved_rows(folder, key)
    if path.is_file():
        return read_file(path, key)
    if path.is_absolute() or source.startswith(".") or format_of(path):
        raise ValueError(f"{key} {source} {no_file(source)}")
    return pick(hub_splits(source, key, configuration, revision), names_of(split), f"{key} {source!r}")


def check_records(
    rows: Iterable[Record],
    columns: Iterable[str],
    where: str,
    settings: Mapping[str, str] | None = None,
    texts: Collection[str] = (),
    nullable: Collection[str] = (),
) -> Iterator[Record]:
    """The rows, each checked for the columns it must have, `texts` those that hold texts; other arguments and errors as
    in `read_records`."""
    needed, settings = tuple(columns), settings or {}
    for number, row in enumerate(rows):
        place = f"row {number}"
        for column in needed:
            if column not in row:
                mend = _mend(column, row, settings)
                raise ValueError(f"{where}, {place}: no column {column!r}; it has {some(sorted(row))}{mend}")
            if column not in nullable and is_null(row[column]):
                more = LABELLED if settings.get(column) == LABEL else ""
                raise ValueError(f"{where}, {place}: column {column!r} is null; fill it or drop the row{more}")
        for text in texts:
            advice = f"set {settings.get(text, 'it')} to a column of strings, or make it one"
            read = text_of(row[text], where, f"{place}: column {text!r}", advice)
            row = row if read is row[text] else row | {text: read}
        yield row


def is_null(value: Any) -> bool:
    """None, or the NaN that stands for it where pandas wrote the file."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _mend(missing: str, row: Record, settings: Mapping[str, str]) -> str:
    """The setting that would mend a missing column, if it is known, with the column that is likely meant."""
    if missing not in settings:
        return ""
    if missing.partition(".")[0] in row:
        return ": a column within a column is not read; make it a column of its own"
    setting, free = settings[missing], [name for name in row if name not in settings]
    if (near := _nearest(missing, setting, free)) is None:
        return f": set {setting} to the one that is meant"
    meant = [near if name == missing else name for name in settings if settings[name] == setting]
    if setting == "task.text" and PAIRS.get(near) in row and not set(meant) & (row.keys() - {near}):
        meant = [near, PAIRS[near]]
    value = shlex.quote(near) if len(meant) == 1 else f"[{','.join(map(shlex.quote, meant))}]"
    return f": {setting} {value}" if setting.startswith("--") else f": set {setting}={value}"


def _nearest(missing: str, setting: str, names: list[str]) -> str | None:
    kind = setting.rpartition(".")[2].replace("--", "").replace("column", "text")
    small = {name.strip().lower(): name for name in names}
    known = (small[name] for name in USUAL.get(kind, ()) if name in small)
    return next(known, None) or next(iter(difflib.get_close_matches(missing, names, n=1)), None)
