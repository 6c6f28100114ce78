"""Where training is, as the masks of a collator need to know."""

import copy
import math
import os
from enum import IntEnum
from numbers import Real
from typing import Any, Self
from weakref import WeakSet

import torch
from torch import distributed
from torch.utils.data import get_worker_info

WORKERS = 4096
"""Workers of a loader whose starts are told apart."""
ROUNDED = 6
"""Digits of progress: a sum of shares may come to a little more than 1."""


class Repeats(IntEnum):
    """Whether a text may come more than once in an epoch."""

    NONE = 0
    STREAM = 1
    """Perhaps: the data are a stream, of which nobody knows."""
    COPIES = 2
    """Yes: the data hold it so many times."""


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
        self._told = torch.tensor([math.nan, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64).share_memory_()
        self._starts = torch.zeros(WORKERS, dtype=torch.int64).share_memory_()
        self._batches, self._worker = 0, 0
        self._maker, self._rank_told = os.getpid(), False
        _CLOCKS.add(self)

    @property
    def epoch(self) -> int | None:
        """The epoch; None until told."""
        epoch = float(self._told[0])
        return None if math.isnan(epoch) else int(epoch)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._tell(0, epoch)
        if not self._rank_told:
            self._tell(3, rank_here())

    @property
    def progress(self) -> float:
        """The share of training that is done; 0 until told."""
        return float(self._told[1])

    @progress.setter
    def progress(self, progress: float) -> None:
        self._tell(1, progress)

    @property
    def repeats(self) -> Repeats:
        """Whether a text may come more than once in an epoch, as far as somebody told."""
        return Repeats(int(self._told[2]))

    @repeats.setter
    def repeats(self, repeats: Repeats) -> None:
        self._tell(2, float(repeats))

    def begin(self, rank: int | None) -> None:
        """A training begins: what was seen before is forgotten. `rank` is that of the process, among those that train
        one model; None: as `rank_here` has it when the epoch is told."""
        self._rank_told = rank is not None
        self._tell(3, rank or 0)
        self._tell(4, float(self._told[4]) + 1)

    def _tell(self, what: int, value: float) -> None:
        self._part()
        self._told[what] = value

    def _part(self) -> None:
        """From here on it is told to workers of this process alone: ranks may have been forked from the one that made
        this. Before the first of these workers is there, or it would not hear."""
        if get_worker_info() is None and self._maker != os.getpid():
            self._maker = os.getpid()
            self._told, self._starts = (shared.clone().share_memory_() for shared in (self._told, self._starts))

    @property
    def period(self) -> tuple[float, ...]:
        """Training and epoch: what was seen in another one does not count."""
        return float(self._told[4]), float(self._told[0])

    @property
    def process(self) -> int:
        """A number of the process that puts the batch together: 0 where there is but one."""
        worker = get_worker_info()
        return int(self._told[3]) * WORKERS + (0 if worker is None else worker.id)

    def draw(self) -> int:
        """The epoch of the batch at hand."""
        if (epoch := self.epoch) is not None:
            return epoch
        worker = get_worker_info()
        if worker is None:
            self._batches += 1
            return self._batches
        place = worker.id % WORKERS
        if self._worker != os.getpid():
            # Workers are started anew each epoch. Each counts in a place of its own how often, so that epochs differ
            # without a number that another run would not have.
            self._worker, self._batches = os.getpid(), 0
            self._starts[place] += 1
        self._batches += 1
        return (int(self._starts[place]) * WORKERS + worker.id) * 2**24 + self._batches

    def __getstate__(self) -> dict[str, Any]:
        self._part()  # it may be on its way to a worker that is started anew
        return vars(self).copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for shared in (self._told, self._starts):
            shared.share_memory_()  # a copy that came by pickle has workers of its own
        _CLOCKS.add(self)


_CLOCKS: WeakSet[Clock] = WeakSet()


def _part_all() -> None:
    for clock in list(_CLOCKS):
        clock._part()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing is forked
    os.register_at_fork(before=_part_all)


def rank_here() -> int:
    """The rank of this process, as torch.distributed or who has launched it says; 0 where neither does."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    said = os.environ.get("RANK", "")
    return int(said) if said.isdecimal() else 0


class Timed:
    """What a training tells a collator, which has a `Clock` of its own: a copy goes on from where it was copied, and
    what `dataclasses.replace` makes is new and has been told nothing."""

    _clock: Clock

    def __copy__(self) -> Self:
        other, own = object.__new__(type(self)), ("_clock", "_sights")
        other.__dict__.update(vars(self), **{name: copy.deepcopy(vars(self)[name]) for name in own})
        return other

    def set_epoch(self, epoch: int) -> None:
        """From now on masks are those of this epoch, a whole number from 0 on, in the workers of a loader as well.
        ValueError: it is none."""
        if not isinstance(epoch, Real) or not math.isfinite(epoch) or epoch < 0 or epoch != int(epoch):
            raise ValueError(f"epoch {epoch!r:.80} is no whole number from 0 on: tell the one that begins")
        self._clock.epoch = int(epoch)

    def set_progress(self, progress: float) -> None:
        """The share of training that is done, from 0 to 1, for a policy whose rate has a schedule; 0 until told.
        ValueError: it is none."""
        if not isinstance(progress, Real) or not 0.0 <= round(progress, ROUNDED) <= 1.0:
            raise ValueError(
                f"progress {progress!r:.80} is no share from 0 to 1: tell how much of training is done, such as "
                "step / steps"
            )
        self._clock.progress = float(progress)

    def begin_training(self, repeats: Repeats, rank: int | None = None) -> None:
        """What a callback tells: whether examples may come again within an epoch, and the rank of this process; None:
        that of torch.distributed, or of the environment variable RANK."""
        self._clock.begin(rank)
        self.expect_repeats(repeats)

    def expect_repeats(self, repeats: Repeats) -> None:
        """Whether examples may come again within an epoch, from now on."""
        self._clock.repeats = repeats
