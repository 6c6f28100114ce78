"""What a run that ends early says: what it kept, and how to go on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from policylearn.report.formats import plural
from policylearn.report.printing import new_console, print_line
from policylearn.runs.checkpoints import last_checkpoint
from policylearn.runs.layout import CHECKPOINTS, CONFIG, EXPECTED, METRICS, OUTCOMES, STRENGTH, TRIALS

if TYPE_CHECKING:
    from policylearn.storage.folder import Storage

INTERRUPTED = 130
"""Exit status after Ctrl-C, as of shells."""
_BEGUN: set[str] = set()
"""Where runs of this process have begun: beside --fresh, whatever was there is forgotten."""


def has_begun(place: object) -> None:
    """Whoever begins a run tells where, once it may be gone on with and nothing of an earlier one is left."""
    _BEGUN.add(str(place))


@contextmanager
def resumable(out: str, fresh: bool = False) -> Iterator[None]:
    """Whatever ends a run early, say what it kept and how to go on; `fresh`: --fresh was given, which would forget what
    has begun; without it what has not is the run of before."""
    from policylearn.cluster.calls import WorkFailed
    from policylearn.runs.preemption import Preempted, preemptible
    from policylearn.storage.folder import Storage, StorageFailed

    _BEGUN.clear()
    try:
        with preemptible():
            yield
    except (KeyboardInterrupt, Preempted, WorkFailed, StorageFailed, OSError) as error:  # such as of a full log
        begun = str(Storage.at(out)) in _BEGUN
        print_line(
            new_console(stderr=True),
            f"{'preempted' if isinstance(error, Preempted) else 'stopped'}"
            f"{' before anything was begun anew' if fresh and not begun else ''}; {out} keeps {_kept(out)}. "
            f"Continue with the same command{', without --fresh,' if fresh and begun else ''} and the same --out.",
        )
        if not isinstance(error, KeyboardInterrupt):
            raise
        sys.exit(INTERRUPTED)


KEPT = {
    f"{EXPECTED}/{METRICS}": ("credits of {}", "point"),
    f"{STRENGTH}/{METRICS}": ("models of {}", "seed"),
    f"{OUTCOMES}/{METRICS}": ("outcomes of {}", "round"),
    METRICS: ("{}", "finished round"),
    TRIALS: ("{}", "finished trial"),
}
"""Files of a run, and what a line of each is; of a study there are such in every task's folder."""


def _kept(out: str) -> str:
    from policylearn.storage.folder import Storage, StorageFailed

    try:
        storage = Storage.at(out)
        if storage.is_file("pretrain.json"):
            with (storage / CHECKPOINTS).here() as folder:
                return _checkpoint_in(folder)
        runs = [storage] if storage.is_file(CONFIG) else [storage / name for name in storage.names()]
        runs = [run for run in runs if run.is_file(CONFIG)]
        counts = {name: sum(_lines_in(run, name) for run in runs) for name in KEPT}
    except StorageFailed:
        return "what was saved before"
    told = [form.format(plural(counts[name], noun)) for name, (form, noun) in KEPT.items() if counts[name]]
    return " and ".join(told) or "nothing that was finished"


def _checkpoint_in(folder: Path) -> str:
    last = last_checkpoint(folder)
    return f"the checkpoint after step {last[0]}" if last else "no checkpoint yet"


def _lines_in(storage: "Storage", name: str) -> int:
    try:
        return len(storage.read(name).splitlines())
    except FileNotFoundError:  # storage boundary: stopped before there was any
        return 0
