"""What a command costs with all processes it starts: seconds, processor seconds, memory, and when it says what."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Thread

import psutil

EVERY = 0.5
"""Seconds between two looks at the processes. What one that ends does after the last look is not counted."""
SHARED = 10
"""Looks to one that tells what they hold together, which takes the system a while."""


@dataclass
class Usage:
    """Of a command.

    Attributes:
        wall, cpu: seconds from the start to the end, and those of all processors in all processes, user and system.
        largest, together: MiB: the most that one process held (resident), and that all held at a time, what they share
            counted once (proportional).
        said: line of its output → seconds until it said so.
    """

    wall: float = 0.0
    cpu: float = 0.0
    largest: float = 0.0
    together: float = 0.0
    said: dict[str, float] = field(default_factory=dict)

    def until(self, words: str) -> float | None:
        """Seconds until a line with these words; None: it never came."""
        return next((seconds for line, seconds in self.said.items() if words in line), None)


def usage_of(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Usage:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; with the last lines of its output.
    """
    started, found, seconds = time.monotonic(), Usage(), dict[tuple[int, float], float]()
    process = subprocess.Popen(
        command, cwd=folder, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def listen() -> None:
        for line in process.stdout or ():
            found.said.setdefault(line, time.monotonic() - started)

    reader = Thread(target=listen)
    reader.start()
    try:
        for number in count():
            if process.poll() is not None:
                break
            look(psutil.Process(process.pid), found, seconds, number % SHARED == 0)
            time.sleep(EVERY)
    finally:
        process.terminate()
        reader.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{''.join([*found.said][-20:])}")
    found.wall, found.cpu = time.monotonic() - started, sum(seconds.values())
    return found


def look(root: psutil.Process, found: Usage, seconds: dict[tuple[int, float], float], shared: bool) -> None:
    """One look at a process and all below it; `shared`: at what they hold together as well."""
    together = 0.0
    try:
        processes = [root, *root.children(recursive=True)]
    except psutil.Error:  # fault boundary: it has just ended
        return
    for process in processes:
        try:
            times, memory = process.cpu_times(), process.memory_full_info() if shared else process.memory_info()
            seconds[process.pid, process.create_time()] = times.user + times.system
        except psutil.Error:
            continue
        found.largest = max(found.largest, memory.rss / 2**20)
        together += getattr(memory, "pss", 0) / 2**20
    found.together = max(found.together, together)
