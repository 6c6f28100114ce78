"""What the files of a run hold, in short: whether they are the same when it goes on."""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from policylearn.config import Config
from policylearn.config.places import places_of
from policylearn.data.columns import columns_apart
from policylearn.data.hub import DATASETS
from policylearn.data.records import matching_files
from policylearn.data.splits import unread_files
from policylearn.problems.problem import Problem
from policylearn.runs.code import NOW, code_of_parts
from policylearn.runs.kept import kept_json
from policylearn.runs.layout import CONFIG, CONTENTS, POLICY
from policylearn.storage.folder import Storage

WHOLE = 2**28
"""Bytes of all files together, up to which every byte is read."""
END = 2**16
"""Bytes at the beginning and the end of a file that are read of larger ones."""


def contents(config: Config, way: int = NOW) -> dict[str, str]:
    """What the files and folders that settings name hold, by their setting; of those that are on this machine. Of a run
    that learning starts from it is the policy. And how the parts of others are written that it is learned with.

    Args:
        config: of the run.
        way: `NOW`, or that of an older run, which looked at less: at first, 0, of folders nothing behind a link, and
            of parts as `code_hash` says.
    """
    unread = {"task.path": [*unread_files(config.task), DATASETS]}
    places = {key: place for key, place in places_of(config).items() if key.partition(".")[0] != "pretrain"}
    if (start := config.learn.start) is not None and Path(start, POLICY).is_dir():
        places["learn.start"] = f"{start}/{POLICY}"
    found = {key: contents_of(place, unread.get(key, ()), way > 0) for key, place in places.items()}
    parts = code_of_parts(config, but={"evaluate", "cluster", "track", "scores"}, way=way)
    return {key: held for key, held in found.items() if held is not None} | parts


def changed_contents(before: Mapping[str, str], held: Mapping[str, str], config: Config) -> list[str]:
    """Of `contents`, what is not as it was; what an older run has kept is held against what would be kept then."""
    others = [key for key in held if before.get(key, held[key]) != held[key]]
    for way in reversed(range(NOW)) if others else ():
        earlier = contents(config, way)
        others = [key for key in others if before[key] != earlier.get(key)]
    return others


def contents_as_read(problem: Problem) -> dict[str, str]:
    """The same of model, task and domain where they are no files on this machine: of what was read from there."""
    config, data = problem.config, problem.data()
    read = {
        "model.name": lambda: data.checkpoint,
        "task.path": lambda: _digest(b for x in data.examples.values() for b in (*x.rows.contents(), *x.contents())),
        "domain.path": lambda: _digest(columns_apart(data.domain, config)[0].contents()),
    }
    elsewhere = {key for key, place in places_of(config).items() if key in read and not _places_here(place)}
    return {key: read[key]() for key in read if key in elsewhere}


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def known_contents(storage: Storage) -> dict[str, str]:
    """What a run has kept of them; nothing, where it is from before this was kept.

    Raises:
        ValueError: it is damaged.
        StorageFailed: it cannot be read.
    """
    return kept_json(storage, CONTENTS, "it is made anew by the next run if taken away") or {}


def contents_of(source: str, unread: Collection[str] = (), follows: bool = True) -> str | None:
    """SHA-256 of a file, a folder, or the files that a pattern matches, by their names below it; None: it is nothing
    that can be read on this machine.

    Of more than `WHOLE` bytes, names, sizes, beginnings and ends have to do.

    Args:
        source: what a setting names.
        unread: files in the folder that are no part of it.
        follows: whether what is behind a link to a folder is one.
    """
    try:
        if not (places := _places_here(source)):
            return None
        files = [(file, name) for place in places for file, name in _files(place, follows) if name not in unread]
        whole = sum(file.stat().st_size for file, _ in files) <= WHOLE
        digest = hashlib.sha256()
        for file, name in files:
            digest.update(f"{name} {file.stat().st_size}\n".encode())
            with file.open("rb") as read:
                digest.update(hashlib.file_digest(read, "sha256").digest() if whole else _ends(read))
    except (ValueError, OSError):  # storage boundary: whoever reads them for good will say what is wrong
        return None
    return digest.hexdigest()


def _places_here(source: str) -> list[Path]:
    """The files and folders on this machine that a setting names; none, where it names another place."""
    try:
        places = [Path(place) for place in matching_files(source)]
        return places if all(place.exists() for place in places) else []
    except (ValueError, OSError):  # storage boundary: as in `contents_of`
        return []


def _ends(read: BinaryIO) -> bytes:
    first = read.read(END)
    read.seek(max(0, read.seek(0, os.SEEK_END) - END))
    return first + read.read()


def _files(place: Path, follows: bool) -> Iterator[tuple[Path, str]]:
    """Those in a folder, with their names in it; but hidden ones, and runs and models that were put there."""
    if place.is_file():
        yield place, place.name
    else:
        yield from ((file, file.relative_to(place).as_posix()) for file in _inside(place, follows))


def _inside(folder: Path, follows: bool, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Links are followed, as pictures are read, unless they lead back to a folder `above`, or none is."""
    inside, there = above | {folder.resolve()}, sorted(path for path in folder.iterdir() if path.name[0] != ".")
    yield from (path for path in there if not path.is_dir())
    for path in filter(Path.is_dir, there):
        if not (path / CONFIG).exists() and path.resolve() not in inside and (follows or not path.is_symlink()):
            yield from _inside(path, follows, inside)
