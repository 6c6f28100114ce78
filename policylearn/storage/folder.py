"""A folder anywhere: on this machine, in a bucket, wherever pyarrow or fsspec reach. Faults there are tried again.

A file is there whole or not at all (but see `storage.filesystem`); a folder of several files is complete when its
manifest, written last, is there.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import TypeVar

from pyarrow import ArrowException
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem, PyFileSystem

from policylearn.config.places import check_folder
from policylearn.storage.filesystem import PENDING, open_filesystem, write_file

TRIES = 4
FIRST_DELAY_S, LONGEST_DELAY_S = 0.2, 20.0
REASON = 300
"""Characters shown of an error, which may come with a stack of causes."""

T = TypeVar("T")


class StorageFailed(RuntimeError):
    """A place could not be read or written, though it was tried again; the message names it and the reason."""


@dataclass
class Patience:
    """How faults of a folder, and of all in it, are met.

    Attributes:
        until: of `time.monotonic`: till when a call is tried again after its first few tries; after that, while the
            folder is known to fail, it is tried only once.
        say: told when the folder begins to fail and when it works again.
        failing_since: of `time.monotonic`; None while it works.
        place: what failed first.
        writing: whether that was a write; then it takes the same one to see that the folder works: a full disk can be
            read, and has room for what is small.
    """

    until: float = 0.0
    say: Callable[[str], None] = field(default=lambda line: None)
    failing_since: float | None = None
    place: str = ""
    writing: bool = False

    def failed(self, place: str, error: Exception, writing: bool) -> None:
        """Say so, once."""
        if self.failing_since is None:
            self.failing_since, self.place, self.writing = monotonic(), place, writing
            self.say(f"{place} fails, trying again: {_reason(error)}")

    @contextmanager
    def lasting(self, seconds: float) -> Iterator[None]:
        """What is done meanwhile is tried again for so long, all of it together."""
        before, self.until = self.until, monotonic() + seconds
        try:
            yield
        finally:
            self.until = before

    def worked(self, place: str) -> None:
        """What was tried there did; if it had failed, say so."""
        if not self.writing or place == self.place:
            self.recovered()

    def recovered(self) -> None:
        """All that had to be saved is; say so, if anything had failed."""
        if self.failing_since is not None:
            self.say(f"{self.place} works again after {monotonic() - self.failing_since:.0f} s")
            self.failing_since = None


class Storage:
    """A folder that need not exist yet. Use `Storage.at`; ``storage / "name"`` is a folder in it.

    Everything raises `StorageFailed` when it still fails after some tries.
    """

    def __init__(self, filesystem: FileSystem, root: str, shown: tuple[str, str], patience: Patience) -> None:
        self._filesystem, self._root, self._shown, self.patience = filesystem, root, shown, patience
        # What stands behind fsspec raises whatever its own libraries raise.
        self._faults = (Exception,) if isinstance(filesystem, PyFileSystem) else (OSError, ArrowException)

    @classmethod
    def at(cls, place: "str | os.PathLike[str] | Storage", say: Callable[[str], None] | None = None) -> "Storage":
        """A path or a URI: ``runs/a``, ``file:///runs/a``, ``s3://bucket/a?endpoint_override=host:9000``, …

        Raises:
            ValueError: it is empty, nothing is known of this kind of URI, or it holds a password.

        >>> str(Storage.at("s3://bucket/run?region=eu-west-1") / "policy")
        's3://bucket/run/policy?region=eu-west-1'
        """
        if isinstance(place, Storage):
            return place
        if not isinstance(place, str | os.PathLike):
            raise ValueError(f"a folder is given as {place!r:.80}: give a path or a URI")
        text = os.fspath(place)
        if not text:
            raise ValueError("the name of a folder is empty: give a path or a URI, . for the folder that you are in")
        head, mark, query = text.partition("?") if "://" in text else (text, "", "")
        filesystem, root = open_filesystem(text)
        return cls(filesystem, root, (head.rstrip("/") or head, mark + query), Patience(say=say or (lambda line: None)))

    def __truediv__(self, name: str) -> "Storage":
        shown = (f"{self._shown[0]}/{name}", self._shown[1])
        return Storage(self._filesystem, self._path(name), shown, self.patience)

    def __str__(self) -> str:
        return "".join(self._shown)

    def impatient(self) -> "Storage":
        """The same folder, for files that may be missed: a few tries, and nothing is said."""
        return Storage(self._filesystem, self._root, self._shown, Patience())

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            FileNotFoundError: it is not there.
        """

        def action() -> bytes:
            with self._filesystem.open_input_file(self._path(name)) as file:
                return file.read()

        return self._patiently(name, action, FileNotFoundError)

    def write(self, name: str, data: bytes) -> None:
        """Replace a file, see `write_file`."""
        self._patiently(name, lambda: write_file(self._filesystem, self._path(name), data), writing=True)

    def write_all(self, files: Mapping[str, bytes], manifest: str, beside: Collection[str] = ()) -> None:
        """Write the files of a folder; without the manifest, which goes first and comes last, it is unfinished.

        Files `beside` the others need not be as the manifest has them: where the others are there already, nothing is
        unfinished meanwhile.
        """
        others = files.keys() - {manifest, *beside}
        if beside and all(self._holds(name, files[name]) for name in others):
            files = {name: data for name, data in files.items() if name not in others}
        else:
            self.remove(manifest)
        for name in sorted(files, key=manifest.__eq__):
            self.write(name, files[name])

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            return self.impatient().read(name) == data
        except (FileNotFoundError, StorageFailed):  # storage boundary: what cannot be read is replaced
            return False

    def is_file(self, name: str = "") -> bool:
        """Whether there is a file of this name; without a name, whether this folder is one."""
        return self._type(name) == FileType.File

    def check_folder(self) -> None:
        """That this can be a folder. ValueError: there is a file of its name; on this machine, see `check_folder`."""
        if isinstance(self._filesystem, LocalFileSystem):
            check_folder(Path(self._root), str(self))
        elif self.is_file():
            raise ValueError(f"{self} is a file: name a folder")

    def write_changed(self, name: str, data: bytes) -> None:
        """Replace a file by what it may hold already; then nothing is written, and the folder may be read-only."""
        if not self.is_file(name) or self.read(name) != data:
            self.write(name, data)

    def names(self) -> list[str]:
        """Files and folders in this folder, without those being written, sorted."""
        return [name for name in self._list(recursive=False) if not name.endswith(PENDING)]

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all in it, if it is there."""
        kind = self._type(name)
        if kind == FileType.Directory:
            self._patiently(name, lambda: self._filesystem.delete_dir(self._path(name)))
        elif kind != FileType.NotFound:
            self._patiently(name, lambda: self._filesystem.delete_file(self._path(name)))

    @contextmanager
    def here(self) -> Iterator[Path]:
        """This folder on the local disk: itself, or for a while a copy."""
        if isinstance(self._filesystem, LocalFileSystem):
            yield Path(self._root)
            return
        with TemporaryDirectory(prefix="policylearn-") as copy:
            for name in self._list(recursive=True):
                if ".." in name.split("/"):
                    raise ValueError(f"{self} holds {name!r}, which leads out of it")
                if self.is_file(name):
                    (Path(copy) / name).parent.mkdir(parents=True, exist_ok=True)
                    (Path(copy) / name).write_bytes(self.read(name))
            yield Path(copy)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}" if name else self._root

    def _type(self, name: str) -> FileType:
        return self._patiently(name, lambda: self._filesystem.get_file_info(self._path(name)).type)

    def _list(self, recursive: bool) -> list[str]:
        selector = FileSelector(self._root, allow_not_found=True, recursive=recursive)
        found = self._patiently("", lambda: self._filesystem.get_file_info(selector))
        start = len(self._path("x")) - 1
        return sorted(info.path[start:] for info in found)

    def _patiently(self, name: str, action: Callable[[], T], *answers: type[Exception], writing: bool = False) -> T:
        """Call until it works, with growing delays; errors that are answers, not faults, pass at once."""
        place, delay, tries = str(self / name if name else self), FIRST_DELAY_S, 1
        least = 1 if self.patience.failing_since is not None else TRIES
        while True:
            try:
                result = action()
            except answers:
                self.patience.worked(place)
                raise
            except self._faults as error:  # storage boundary
                self.patience.failed(place, error, writing)
                if tries >= least and monotonic() + delay > self.patience.until:
                    raise StorageFailed(f"{place} cannot be reached or used: {_reason(error)}") from error
            else:
                self.patience.worked(place)
                return result
            sleep(delay)
            tries, delay = tries + 1, min(2 * delay, LONGEST_DELAY_S)


def files_below(folder: Path) -> dict[str, bytes]:
    """Content of all files of a local folder, by their paths in it."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:REASON]
