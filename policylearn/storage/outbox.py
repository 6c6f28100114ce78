"""What a run has to save while its storage may fail: it waits in memory, newest state only, and the work goes on."""

from collections.abc import Callable
from typing import Any

from policylearn.storage.folder import Storage, StorageFailed


class Outbox:
    """Writes by name, in the order in which the names first came.

    Args:
        storage: where they go.
        say: told when something has to wait.
    """

    def __init__(self, storage: Storage, say: Callable[[str], None]) -> None:
        self._storage, self._say = storage, say
        self._waiting: dict[str, Callable[[], Any]] = {}

    def hold(self, *writes: tuple[str, Callable[[], Any]]) -> None:
        """Let these wait for the next `put`, each in place of an older one of its name."""
        self._waiting |= dict(writes)

    def put(self, *writes: tuple[str, Callable[[], Any]]) -> None:
        """Save these now, after all that waits; or let them wait as well."""
        known = self._storage.patience.failing_since is not None
        self.hold(*writes)
        if not self.try_all() and not known:
            self._say(f"{self._storage} keeps what it held before; the work goes on and will be saved later")

    def try_all(self) -> bool:
        """Save all that waits, or as much as can be."""
        try:
            self.flush()
        except StorageFailed:  # which the storage has said
            return False
        return True

    def flush(self) -> None:
        """Save all that waits.

        Raises:
            StorageFailed: the first that failed; it and those after it still wait.
        """
        waiting = list(self._waiting)
        for name in waiting:
            self._waiting[name]()
            del self._waiting[name]
        if waiting:  # nothing saved is no sign of recovery
            self._storage.patience.recovered()
