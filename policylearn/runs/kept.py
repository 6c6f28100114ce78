"""Files of a run read back: one that is damaged is named, with what to do."""

import json
from typing import Any

from policylearn.storage.folder import Storage


def kept_json(storage: Storage, name: str, advice: str) -> Any:
    """What a JSON file of a run holds; None: there is none.

    Raises:
        ValueError: it is damaged; `advice` says what to do.
        StorageFailed: it cannot be read.
    """
    try:
        return json.loads(storage.read(name))
    except FileNotFoundError:
        return None
    except ValueError as error:  # storage boundary: cut short, or of other bytes
        raise damaged(storage, name, error, advice) from error


def kept_bytes(storage: Storage, name: str) -> bytes:
    """Content of a file of a run; empty if there is none. StorageFailed: it cannot be read."""
    try:
        return storage.read(name)
    except FileNotFoundError:
        return b""


def kept_lines(storage: Storage, name: str) -> list[dict[str, Any]]:
    """Records of a file of JSON lines, none if it is not there; the last is dropped if it is cut short.

    Raises:
        ValueError: another one is damaged.
        StorageFailed: it cannot be read.
    """
    records = []
    for number, line in enumerate(kept_bytes(storage, name).splitlines(keepends=True), 1):
        if line.endswith(b"\n"):
            try:
                records.append(json.loads(line))
            except ValueError as error:  # storage boundary
                advice = "take that line out, and what it held is run again"
                raise damaged(storage, f"{name}, line {number}", error, advice) from error
    return records


def damaged(storage: Storage, name: str, error: Exception, advice: str) -> ValueError:
    """What to say of it."""
    return ValueError(f"{storage}/{name} is damaged: {error}; {advice}, or start over")
