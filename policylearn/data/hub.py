"""Data sets of the library `datasets`: on the Hub, streamed, and in folders that `save_to_disk` wrote."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from policylearn.data.class_names import classes_of, with_names
from policylearn.data.formats import NEEDS, Record
from policylearn.messages.quote import shorten, some

DATASET, DATASETS = "state.json", "dataset_dict.json"
"""Files by which a folder of `Dataset.save_to_disk`, and of `DatasetDict.save_to_disk`, is known."""
REASON = 600


def is_saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` wrote the folder."""
    return (folder / DATASET).is_file() and (folder / "dataset_info.json").is_file()


def saved_rows(folder: Path, key: str) -> Iterator[Record]:
    """The rows of such a folder.

    Raises:
        ValueError: `datasets` is not installed, or cannot read it.
    """
    where = f"{key} {folder}"
    try:
        rows = _library(where).load_from_disk(str(folder)).with_format(None)  # which is saved along, with its columns
    except Exception as error:  # storage boundary: whatever is wrong with the folder, the user needs one line
        raise ValueError(f"{where} cannot be read as a data set saved to disk: {reason(error)}") from error
    return _read(rows, where)


def hub_splits(
    name: str, key: str, configuration: str | None = None, revision: str | None = None
) -> dict[str, Iterable[Record]]:
    """The splits of a data set on the Hub by the names they have there; none is read yet.

    Raises:
        ValueError: `datasets` is not installed, or finds no such data set; with its reason.
    """
    where = f"{key} {name!r}"
    try:
        found = _library(where).load_dataset(name, configuration, revision=revision, streaming=True)
    except ValueError as error:
        if "Config name is missing" not in str(error) and "BuilderConfig" not in str(error):
            raise _unreadable(name, key, error) from error
        setting = key.replace(".path", ".configuration")
        raise ValueError(f"{where}: {shorten(str(error), REASON)}; set {setting}") from error
    except Exception as error:  # storage boundary: the Hub fails in many ways, the user needs one line
        raise _unreadable(name, key, error) from error
    return {str(split): _read(rows, f"{where}, split {split!r}") for split, rows in found.items()}


def pick(found: dict[str, Any], names: Iterable[str], where: str) -> Any:
    """The first of the names that a data set has a split of; ValueError: it has none of them."""
    for name in names:
        if name in found:
            return found[name]
    raise ValueError(f"{where} has no split {' or '.join(map(repr, names))}; it has {some(found)}")


def reason(error: BaseException) -> str:
    """What an error of `datasets` says, and what was behind it, which it often keeps to itself.

    >>> try:
    ...     raise RuntimeError("it went wrong") from OSError("disk full")
    ... except RuntimeError as error:
    ...     reason(error)
    'it went wrong: disk full'
    """
    said = [str(error).strip()]
    while (error := error.__cause__ or error.__context__) is not None:  # type: ignore[assignment]
        if (text := str(error).strip()) and text not in said[-1]:
            said.append(text)
    return shorten(": ".join([said[0], *said[1:][-1:]]), REASON)


def _read(rows: Any, where: str) -> Iterator[Record]:
    try:
        yield from named_rows(rows)
    except Exception as error:  # storage boundary: streams are opened when they are read
        raise ValueError(f"{where} cannot be read: {reason(error)}") from error


def named_rows(rows: Any) -> Iterator[Record]:
    """Rows of a data set of `datasets`; classes that it keeps by number are called by their names. ValueError: one has
    none."""
    classes = classes_of(getattr(rows, "features", None))
    plain = rows.with_format(None) if classes else rows  # numbers as Python's, whatever it is set to
    for number, row in enumerate(plain):
        yield with_names(row, classes, f"row {number}")


def _unreadable(name: str, key: str, error: Exception) -> ValueError:
    owner, slash, rest = name.partition("/")
    section, of_config, _ = key.partition(".")
    hint = f"; if {rest!r} is a configuration of {owner!r}, set {section}.path={owner} {section}.configuration={rest}"
    return ValueError(
        f"{key} {name!r} is neither a file nor a Hub data set I can read: {reason(error)}"
        f"{hint if slash and of_config else ''}"
    )


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Within, `datasets` shows none, if it is in use at all; after that, as before."""
    datasets = sys.modules.get("datasets")
    if datasets is None or datasets.utils.are_progress_bars_disabled():
        yield
        return
    datasets.utils.disable_progress_bars()
    try:
        yield
    finally:
        datasets.utils.enable_progress_bars()


def _library(where: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise ValueError(f"{where} is no file here: a Hub data set needs `datasets`; {NEEDS}") from None
    return datasets
