"""What has been found, a JSON line each; who is at what; the time by which to stop."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any


def append(path: Path, line: dict[str, Any]) -> None:
    """One line in one write, on the disk when this returns: whoever is stopped loses what it was at and no more."""
    content = (json.dumps(line) + "\n").encode()
    path.parent.mkdir(exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        assert os.write(file, content) == len(content)
        os.fsync(file)
    finally:
        os.close(file)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All of them; none where there is no such file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


@contextmanager
def lock(path: Path) -> Iterator[bool]:
    """Whether this process has the lock, until the end; whoever is killed has none any more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def deadline(clock: str) -> float:
    """The next time that a clock shows so much ("03:20"), in seconds since 1970."""
    now, at = datetime.now(), datetime.strptime(clock, "%H:%M")
    then = now.replace(hour=at.hour, minute=at.minute, second=0, microsecond=0)
    return (then if then > now else then + timedelta(days=1)).timestamp()
