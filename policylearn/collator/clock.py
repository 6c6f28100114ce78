"""Where training is, as the masks of a collator need to know."""

import math
from typing import Any

import torch
from torch.utils.data import get_worker_info


class Clock:
    """Epoch and progress of training, in shared memory: the workers of a loader hear what the main process is told.

    >>> clock = Clock()
    >>> clock.draw(), clock.draw()  # nobody told the epoch: every batch counts as one
    (1, 2)
    >>> clock.epoch = 7
    >>> clock.draw(), clock.draw()
    (7, 7)
    """

    def __init__(self) -> None:
        self._told = torch.tensor([math.nan, 0.0], dtype=torch.float64).share_memory_()
        self._batches = 0

    @property
    def epoch(self) -> int | None:
        """The epoch; None until told."""
        epoch = float(self._told[0])
        return None if math.isnan(epoch) else int(epoch)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._told[0] = epoch

    @property
    def progress(self) -> float:
        """The share of training that is done; 0 until told."""
        return float(self._told[1])

    @progress.setter
    def progress(self, progress: float) -> None:
        self._told[1] = progress

    def draw(self) -> int:
        """The epoch of the batch at hand."""
        if (epoch := self.epoch) is not None:
            return epoch
        self._batches += 1
        worker = get_worker_info()
        # Workers are started anew each epoch with a fresh base seed, and with their counters set back to zero.
        return self._batches + (0 if worker is None else worker.seed - worker.id)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._told.share_memory_()  # a copy that came by pickle has workers of its own
