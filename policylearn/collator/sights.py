"""How often a process has seen a text, in a fixed amount of memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from policylearn.collator.clock import Clock, Repeats
from policylearn.config import MaskingConfig
from policylearn.masking.keys import mix, mixed_integer
from policylearn.masking.units import leads

SLOTS = 1 << 20
"""Counters of each of two rows: 8 MB in all."""
TIMES, PROCESSES = 2**20, 2**40
"""How far apart the draws of two sights and of two processes are; below them is the epoch."""


class Sights:
    """Counts how often keys were seen: a count-min sketch (Cormode & Muthukrishnan, 2005).

    A count is never too low, and higher at every sight of a key than at the one before. With more than some hundred
    thousand different keys it may be too high, for others share its two counters. A copy has seen nothing.

    >>> sights = Sights()
    >>> sights.before(torch.tensor([7, 8, 7]), since=0), sights.before(torch.tensor([8, 9]), since=0)
    (tensor([0, 0, 1]), tensor([1, 0]))
    >>> sights.before(torch.tensor([8]), since=1)
    tensor([0])
    """

    def __init__(self) -> None:
        self._since: Any = None
        self._counts = torch.zeros(0, dtype=torch.int32)

    def before(self, keys: Tensor, since: Any) -> Tensor:
        """How often each of the keys [B] was seen before, [B] int64; from now on once more.

        Args:
            keys: [B] int64, well mixed.
            since: begins anew whenever it is another one.
        """
        if since != self._since:
            self._since, self._counts = since, torch.zeros(2, SLOTS, dtype=torch.int32)
        slots = torch.stack([keys, mix(keys)]).bitwise_and(SLOTS - 1)
        seen = self._counts.gather(1, slots).amin(0).long() + among_equals(keys)
        self._counts.scatter_add_(1, slots, torch.ones_like(slots, dtype=torch.int32))
        return seen

    def __getstate__(self) -> dict[str, Any]:
        return vars(Sights())


def among_equals(keys: Tensor) -> Tensor:
    """How many of the same stand before each of the keys [B].

    >>> among_equals(torch.tensor([7, 8, 7, 7]))
    tensor([0, 0, 1, 2])
    """
    ordered, order = keys.sort(stable=True)
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    place = torch.arange(len(keys)) - leads(begins[None])[0]
    return torch.empty_like(place).scatter(0, order, place)


def repeats_here(clock: Clock, wanted: bool | None) -> Repeats:
    """Whether texts may come again within an epoch: as is wanted, as a worker sees, or as the clock was told. Where
    nobody told the epoch, every batch is one."""
    if clock.epoch is None:
        return Repeats.NONE
    if wanted is not None:
        return Repeats.COPIES if wanted else Repeats.NONE
    worker = get_worker_info()
    streams = worker is not None and isinstance(worker.dataset, IterableDataset)
    return Repeats.STREAM if streams else clock.repeats


def draws_of(clock: Clock, repeats: Repeats, before: Tensor, masking: MaskingConfig) -> Tensor:
    """Numbers of the draws of texts [B] that were seen so many times before in this epoch, [B] int64.

    The first sight of a text in a stream is that of the epoch, whichever process sees it. What other processes have
    seen no process knows: further ones, and all where it is known that there will be, are of the process as well. Where
    masks take turns, further sights take those of the epochs to come, in a stream whichever process sees them.
    """
    epoch, process = clock.draw() * masking.copies, clock.process
    if masking.design == "explore":
        return epoch + before + (0 if repeats == Repeats.STREAM else process * masking.draws * TIMES)
    own = process * PROCESSES if process < 2**63 // PROCESSES else mixed_integer(process)
    return epoch + before * TIMES + own * ((before > 0) | (repeats == Repeats.COPIES))


def draw_of(
    clock: Clock, sights: Sights, keys: Callable[[], Tensor], wanted: bool | None, masking: MaskingConfig
) -> int | Tensor:
    """The number of the draw that masks a batch: the epoch; or [B], one each, where examples may come again or have
    copies.

    Args:
        clock: tells the epoch.
        sights: of this process.
        keys: gives [B] keys of the examples, asked only where it matters.
        wanted: `vary_repeats` of the collator.
        masking: the policy's settings.
    """
    repeats = repeats_here(clock, wanted)
    if repeats == Repeats.NONE:
        return clock.draw() * masking.copies + (among_equals(keys()) if masking.copies > 1 else 0)
    return draws_of(clock, repeats, sights.before(keys(), clock.period), masking)
