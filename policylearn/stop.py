"""What a run that ends early says: what it kept, and how to go on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

INTERRUPTED = 130
"""Exit status after Ctrl-C, as of shells."""


@contextmanager
def resumable(out: str) -> Iterator[None]:
    """Whatever ends a run early, say what it kept and how to go on."""
    from policylearn.cluster.calls import WorkFailed
    from policylearn.preemption import Preempted, preemptible
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
        rounds = len(Storage.at(out).read("metrics.jsonl").splitlines())
    except FileNotFoundError:  # storage boundary: stopped early, or just now out of reach
        rounds = 0
    except StorageFailed:
        return "the rounds saved before"
    return f"{rounds} finished rounds"
