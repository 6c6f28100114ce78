"""Which files make a policy, and how they are read: once, whole, and only out of their folder."""

import hashlib
import json
import os
import stat
from functools import partial
from pathlib import Path
from typing import Any

FORMAT, PICTURES = 2, 3
"""Of a policy over texts, and of one over pictures, which has no tokenizer."""
PATCHES = "patches"
"""What the manifest of the latter says that it is of."""
SETTINGS, TENSORS, CARD, MANIFEST = "policy.json", "policy.safetensors", "README.md", "manifest.json"
TOKENIZER, TOKENIZER_SETTINGS = "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"
LIMITS = {
    MANIFEST: 1 << 20,
    SETTINGS: 1 << 24,
    TOKENIZER_SETTINGS: 1 << 24,
    CARD: 1 << 24,
    TOKENIZER: 1 << 28,
    TENSORS: 1 << 31,
}
"""The files of a policy, and the most bytes each may have."""
RUN, POLICY = "metrics.jsonl", "policy"
"""The folder of a run that holds what it exported: a run may be named where a policy is meant."""
AGAIN = "copy it again, or export it again"


def read_files(folder: Path, shown: str) -> dict[str, bytes]:
    """Content of all files of a policy, checked against its manifest.

    Args:
        folder: the policy's.
        shown: what the user calls it.

    Raises:
        ValueError: a file is missing, damaged, too large, no plain file, outside of the folder, or no part of a policy.
    """
    if not (folder / MANIFEST).exists() and (folder / POLICY / MANIFEST).exists():
        folder = folder / POLICY
    if not (folder / MANIFEST).exists():
        if (folder / RUN).exists():
            raise ValueError(
                f"policy {shown} is a run that has exported no policy yet: run the same command to the end"
            )
        raise ValueError(f"policy {shown} has no {MANIFEST}: it is not a policy, or was not written to the end")
    manifest = read_json(read_file(folder, MANIFEST, shown), MANIFEST, shown)
    _check_format(manifest.get("format"), shown)
    if (manifest["format"] == PICTURES) != (manifest.get("of") == PATCHES):
        raise ValueError(f"policy {shown}: {MANIFEST} is damaged: format {PICTURES} is of {PATCHES}; {AGAIN}")
    listed = manifest.get("files")
    if not isinstance(listed, dict):
        raise ValueError(f"policy {shown}: {MANIFEST} is damaged: it lists no files; {AGAIN}")
    if strange := set(listed) - set(LIMITS) | set(listed) & {MANIFEST}:
        raise ValueError(
            f"policy {shown}: {MANIFEST} lists {min(strange)[:99]!r}, which is no part of a policy; {AGAIN}"
        )
    files = {}
    without = {TOKENIZER, TOKENIZER_SETTINGS} if manifest.get("of") == PATCHES else set()
    for name in LIMITS.keys() - {MANIFEST} - without:
        files[name] = read_file(folder, name, shown) if name in listed else b""
        if digest(files[name]) != listed.get(name) and not (name == CARD and name in listed):  # which people edit
            raise ValueError(f"policy {shown}: {name} is missing or does not match the manifest; {AGAIN}")
    return files


def _check_format(version: Any, shown: str) -> None:
    if type(version) is not int:
        raise ValueError(f"policy {shown}: {MANIFEST} is damaged: it names no format; {AGAIN}")
    if version < FORMAT:
        raise ValueError(
            f"policy {shown} has format {version}, this policylearn reads {FORMAT}: export it again from its run, "
            "`policylearn export RUN --out DIR`"
        )
    if version > PICTURES:
        raise ValueError(
            f"policy {shown} has format {version}, this policylearn reads up to {PICTURES}: upgrade it, "
            "`pip install --upgrade policylearn`"
        )


def read_file(folder: Path, name: str, shown: str) -> bytes:
    """Content of one file.

    Raises:
        ValueError: it is missing, no plain file, outside of the folder, or too large.
    """
    path = folder / name
    if not _belongs(path.resolve(), folder.resolve()):
        raise ValueError(f"policy {shown}: {name} leads out of the folder; {AGAIN}")
    try:
        # A pipe is opened without waiting for a writer, and then refused.
        with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"policy {shown}: {name} is no plain file; {AGAIN}")
            if status.st_size > LIMITS[name]:
                raise ValueError(f"policy {shown}: {name} has {status.st_size} bytes, at most {LIMITS[name]} are read")
            return file.read(status.st_size)
    except OSError as error:  # storage boundary
        raise ValueError(f"policy {shown}: {name} is missing or cannot be read ({error.strerror}); {AGAIN}") from error


def _belongs(path: Path, folder: Path) -> bool:
    """Whether a resolved path lies in a folder, or is what a snapshot in the Hub's cache is made of: links to blobs.

    >>> _belongs(Path("/a/policy/README.md"), Path("/a/policy")), _belongs(Path("/a/README.md"), Path("/a/policy"))
    (True, False)
    >>> _belongs(Path("/hub/models--x/blobs/9f"), Path("/hub/models--x/snapshots/1c"))
    True
    """
    blobs = [folder.parent.parent / "blobs"] if folder.parent.name == "snapshots" else []
    return any(place in path.parents for place in [folder, *blobs])


def read_json(data: bytes, name: str, shown: str, digits: int = 19) -> dict[str, Any]:
    """A JSON object with finite numbers, and integers of at most so many digits.

    Raises:
        ValueError: it is something else.

    >>> read_json(b'{"format": 2}', "manifest.json", "p")
    {'format': 2}
    >>> read_json(b'{"rate": 1e999}', "policy.json", "p")
    Traceback (most recent call last):
    ValueError: policy p: policy.json is damaged: the number 1e999 is too large; copy it again, or export it again
    """
    try:
        found = json.loads(data, parse_int=partial(_integer, most=digits), parse_float=_real, parse_constant=_real)
    except (ValueError, RecursionError) as error:  # storage boundary
        raise ValueError(f"policy {shown}: {name} is damaged: {error}; {AGAIN}") from error
    if not isinstance(found, dict):
        raise ValueError(f"policy {shown}: {name} is damaged: it is not a JSON object; {AGAIN}")
    return found


def _integer(digits: str, most: int) -> int:
    if len(digits) > most:
        raise ValueError(f"the number {digits[:19]}… is too large")
    return int(digits)


def _real(digits: str) -> float:
    number = float(digits)
    if not abs(number) < float("inf"):
        raise ValueError(f"the number {digits[:19]} is too large")
    return number


def digest(data: bytes) -> dict[str, Any]:
    """What the manifest says of a file.

    >>> digest(b"")["size"], digest(b"")["sha256"][:8]
    (0, 'e3b0c442')
    """
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
