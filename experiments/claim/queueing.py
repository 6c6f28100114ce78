"""Who is at what; the time by which to stop."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path


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
