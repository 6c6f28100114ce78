"""File systems by path or URI, through pyarrow and where it knows none through fsspec; and files written atomically.

Locally a file is written beside its place, brought to the disk and renamed; object stores publish an object when it
is complete. Other file systems, such as sftp://, agree on no rename that replaces: there a file is written over, and
one whose writer dies meanwhile is cut short.
"""

import errno
import os
import time
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

import fsspec
from pyarrow.fs import (
    AwsStandardS3RetryStrategy,
    FileSystem,
    FSSpecHandler,
    LocalFileSystem,
    PyFileSystem,
    S3FileSystem,
)

PENDING = ".partial"
"""How names of files being written end."""
LEFT_BEHIND_S = 600
"""Seconds after which a file being written is one of a process that was killed."""
OBJECT_STORES = ("abfs", "gcs", "s3")
"""Folders need not be created in them."""
S3_OPTIONS = {"region", "scheme", "endpoint_override"}
AS_TYPED = "%:/?&=@[],;+!$'()*"
"""Signs of a URI that stay what they mean there; blanks and # are of its path."""


def open_filesystem(place: str) -> tuple[FileSystem, str]:
    """The file system of a path or URI, and the path in it.

    Raises:
        ValueError: nothing is known of this kind of URI, or it holds a password.

    >>> open_filesystem("s3://bucket/run?region=eu-west-1")[1], open_filesystem("runs/a/")[1]
    ('bucket/run', 'runs/a')
    """
    if "://" not in place:
        return LocalFileSystem(), place.rstrip("/") or place
    parts = urlsplit(place, allow_fragments=False)  # a sign # is part of a path
    if parts.password is not None:
        raise ValueError(
            f"a password in a {parts.scheme}:// address would be printed and saved: give it by environment, "
            "for s3:// as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    try:
        return _s3(parts) if parts.scheme == "s3" else _known_to_pyarrow_or_fsspec(place)
    except (ValueError, ImportError, OSError) as error:  # storage boundary
        raise ValueError(f"{place} is no place for a run: {error}") from error


def _s3(parts: SplitResult) -> tuple[FileSystem, str]:
    """One try per request and short time-outs: whoever calls tries again, and says so.

    `allow_delayed_open` makes a small file one request instead of an upload in parts, which a crash leaves open.
    """
    options: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - S3_OPTIONS):
        raise ValueError(f"unknown option {unknown[0]!r}; known: {sorted(S3_OPTIONS)}")
    once = AwsStandardS3RetryStrategy(max_attempts=1)
    filesystem = S3FileSystem(
        **options, allow_delayed_open=True, connect_timeout=5, request_timeout=10, retry_strategy=once
    )
    return filesystem, (parts.netloc + parts.path).rstrip("/")


def _known_to_pyarrow_or_fsspec(place: str) -> tuple[FileSystem, str]:
    try:
        return FileSystem.from_uri(quote(place, safe=AS_TYPED))
    except ValueError:  # pyarrow knows few schemes
        filesystem, path = fsspec.core.url_to_fs(place)
        return PyFileSystem(FSSpecHandler(filesystem)), path.rstrip("/")


def write_file(filesystem: FileSystem, path: str, data: bytes) -> None:
    """Replace a file; locally and in object stores in one step: whatever happens, the old or the new one is there."""
    if isinstance(filesystem, LocalFileSystem):
        return _write_locally(Path(path), data)
    if filesystem.type_name not in OBJECT_STORES:
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
    with filesystem.open_output_stream(path, compression=None) as stream:
        stream.write(data)


def _write_locally(path: Path, data: bytes) -> None:
    """Write, bring to the disk, rename, bring the name to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pending = path.with_name(f"{path.name}.{token_hex(8)}{PENDING}")  # no other process writes this one
    try:
        with pending.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        pending.replace(path)
    finally:
        pending.unlink(missing_ok=True)
    _remove_left_behind(path)
    _bring_to_disk(path.parent)


def _remove_left_behind(path: Path) -> None:
    """What processes that were killed have left of a file. One that still writes it would do so again."""
    for other in path.parent.iterdir():
        if other.name.startswith(f"{path.name}.") and other.name.endswith(PENDING):
            with suppress(OSError):  # storage boundary: another process is as quick
                if time.time() - other.stat().st_mtime > LEFT_BEHIND_S:
                    other.unlink()


def _bring_to_disk(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:  # storage boundary: some mounts know nothing of folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)
