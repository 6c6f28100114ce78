"""What a run that ends early says: what it kept, and how to go on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from policylearn.storage.folder import Storage

INTERRUPTED = 130
"""Exit status after Ctrl-C, as of shells."""


@contextmanager
def resumable(out: str) -> Iterator[None]:
    """Whatever ends a run early, say what it kept and how to go on."""
    from policylearn.cluster.calls import WorkFailed
    from policylearn.runs.preemption import Preempted, preemptible
    from policylearn.storage.folder import StorageFailed

    try:
        with preemptible():
            yield
    except (KeyboardInterrupt, Preempted, WorkFailed, StorageFailed) as error:
        Console(stderr=True).print(
            f"{'preempted' if isinstance(error, Preempted) else 'stopped'}; {out} keeps {_kept(out)}. "
            "Continue with the same command and the same --out.",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        if not isinstance(error, KeyboardInterrupt):
            raise
        sys.exit(INTERRUPTED)


def _kept(out: str) -> str:
    from policylearn.storage.folder import Storage, StorageFailed

    try:
        if Storage.at(out).is_file("pretrain.json"):
            return _checkpoint_in(Storage.at(out) / "checkpoints")
        files = ("expected/metrics.jsonl", "metrics.jsonl", "trials.jsonl")
        points, rounds, trials = (_lines_in(Storage.at(out), name) for name in files)
    except StorageFailed:
        return "what was saved before"
    found = [f"credits of {points} points"] if points else []
    found += [f"{rounds} finished rounds"] if rounds or not (points or trials) else []
    return " and ".join(found + ([f"{trials} finished trials"] if trials else []))


def _checkpoint_in(storage: "Storage") -> str:
    steps = [int(name.removeprefix("checkpoint-")) for name in storage.names() if name.startswith("checkpoint-")]
    return f"the checkpoint after step {max(steps)}" if steps else "no checkpoint yet"


def _lines_in(storage: "Storage", name: str) -> int:
    try:
        return len(storage.read(name).splitlines())
    except FileNotFoundError:  # storage boundary: stopped before there was any
        return 0
