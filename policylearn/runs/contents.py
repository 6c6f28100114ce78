"""What the files of a run hold, in short: whether they are the same when it goes on."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from policylearn.config import BENCHMARKS, Config
from policylearn.data.records import matching_files
from policylearn.storage.folder import Storage

CONTENTS = "contents.json"
WHOLE = 2**28
"""Bytes of all files together, up to which every byte is read."""
END = 2**16
"""Bytes at the beginning and the end of a file that are read of larger ones."""


def check_contents(storage: Storage, config: Config, anew: bool) -> None:
    """Keep what the files of task and corpora hold; of a run that goes on, see that it is what they held.

    Raises:
        ValueError: a file is another than when the run began.
        StorageFailed: it cannot be read or written.
    """
    paths = {f"{part}.path": getattr(config, part).path for part in ("task", "domain", "general", "supervised")}
    now = {key: held for key, path in paths.items() if path not in (None, *BENCHMARKS) and (held := contents_of(path))}
    try:
        known = {} if anew else json.loads(storage.read(CONTENTS))
    except FileNotFoundError:  # storage boundary: a run from before this was kept
        known = {}
    if changed := [key for key, held in now.items() if known.get(key, held) != held]:
        raise ValueError(
            f"{storage} holds a run on other data: {changed[0]} {paths[changed[0]]} has changed since it began; choose "
            "another --out, or --fresh to start over"
        )
    if now:
        storage.write(CONTENTS, (json.dumps(known | now, indent=2) + "\n").encode())


def contents_of(source: str) -> str | None:
    """SHA-256 of a file, a folder, or the files that a pattern matches, by their names below it; None: it is nothing on
    this machine.

    Of more than `WHOLE` bytes, names, sizes, beginnings and ends have to do.
    """
    try:
        places = [Path(place) for place in matching_files(source)]
    except ValueError:
        return None
    if not all(place.exists() for place in places):
        return None
    files = [(file, name) for place in places for file, name in _files(place)]
    whole = sum(file.stat().st_size for file, _ in files) <= WHOLE
    digest = hashlib.sha256()
    for file, name in files:
        digest.update(f"{name} {file.stat().st_size}\n".encode())
        with file.open("rb") as read:
            if whole:
                digest.update(read.read())
            else:
                digest.update(read.read(END))
                read.seek(-min(END, file.stat().st_size), 2)
                digest.update(read.read())
    return digest.hexdigest()


def _files(place: Path) -> Iterator[tuple[Path, str]]:
    """Those in a folder, hidden ones left out, with their names in it."""
    if place.is_file():
        yield place, place.name
    for file in sorted(place.rglob("*")) if place.is_dir() else ():
        name = file.relative_to(place).as_posix()
        if file.is_file() and not any(part.startswith(".") for part in name.split("/")):
            yield file, name
