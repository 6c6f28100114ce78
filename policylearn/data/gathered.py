"""Numbers of a corpus of any size, gathered a few at a time."""

from tempfile import TemporaryFile, gettempdir
from typing import IO, Any

import numpy as np

LIMIT = 1 << 26
"""Bytes that are held in memory; what is more waits in a file."""


class Gathered:
    """Arrays that become one: in memory while they are small, else in a file of the folder for temporary files
    (TMPDIR), which has no name and is gone with the array. The system keeps of it in memory what is being read.

    >>> gathered = Gathered(np.int32)
    >>> gathered.add(np.array([5, 6]))
    >>> gathered.add(np.array([7]))
    >>> gathered.array()
    array([5, 6, 7], dtype=int32)
    """

    def __init__(self, dtype: Any) -> None:
        self._dtype, self._size = np.dtype(dtype), 0
        self._parts: list[np.ndarray] = []
        self._file: IO[bytes] | None = None

    def add(self, part: np.ndarray) -> None:
        """Further numbers. ValueError: the folder for temporary files has no room for them."""
        self._size += len(part)
        self._parts.append(part.astype(self._dtype, copy=False))
        if self._size * self._dtype.itemsize > LIMIT:
            self._spill()

    def array(self) -> np.ndarray:
        """All of them, one after the other; it may be written to."""
        if self._file is None:
            return np.concatenate([np.zeros(0, self._dtype), *self._parts])
        mapped = np.memmap(self._file, self._dtype, mode="c", shape=(self._size,))
        return mapped.view(np.ndarray)  # which travels to workers in one piece, and not as a copy for each

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = TemporaryFile(prefix="policylearn-")  # noqa: SIM115
            for part in self._parts:
                self._file.write(np.ascontiguousarray(part).data)
            self._file.flush()
        except OSError as error:  # storage boundary
            taken = f"{self._size * self._dtype.itemsize >> 20:,} MiB"
            raise ValueError(
                f"a corpus of this size takes {taken} and more in {gettempdir()}: {error.strerror}; set TMPDIR to a "
                "folder with room, or domain.limit"
            ) from error
        self._parts = []
