"""Whether the data of a loader may hold a text more than once in an epoch."""

import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch.utils.data import ConcatDataset, IterableDataset
from transformers.trainer_utils import has_length

from policylearn.collator.clock import Repeats

MOST = 64
"""Copies that are looked for."""
ASKED = 16
"""Rows of one that are looked for in the others."""


def repeats_of(loaders: Any) -> Repeats:
    """What is known of a loader, or of several in a list or mapping.

    >>> from torch.utils.data import DataLoader
    >>> repeats_of(DataLoader([5, 6, 7])).name
    'NONE'
    """
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    if isinstance(loaders, (list, tuple)):
        return max(map(repeats_of, loaders), default=Repeats.NONE)
    data = getattr(loaders, "dataset", None)
    if isinstance(data, IterableDataset) or not has_length(loaders):
        return Repeats.STREAM
    if not (copies := copies_in(data)):
        return Repeats.NONE
    warnings.warn(
        f"the data set is {copies} copies of one, or of a part of it: each copy of a text has a mask of its own, which "
        "depends on workers and processes (PolicyCollator(vary_repeats=False): one mask for all of an epoch)",
        stacklevel=2,
    )
    return Repeats.COPIES


def copies_in(data: Any) -> int:
    """How many copies of one data set a data set is, as far as that shows without reading it; 0: none that are seen.

    Seen are torch's `ConcatDataset` of the same object, and a `Dataset` of Hugging Face of which rows all over, that
    are not all alike, come again at equal distances, as `concatenate_datasets([data] * 5)` has them.
    """
    if isinstance(data, ConcatDataset):
        most = max(Counter(map(id, data.datasets)).values(), default=0)
        return most if most > 1 else 0
    if not hasattr(data, "with_format") or not hasattr(data, "column_names"):
        return 0
    plain, rows = data.with_format(None), len(data)  # as it is kept: nothing is transformed, no generator is moved on

    def come_again(part: int) -> bool:
        asked = sorted({round(i * (part - 1) / (ASKED - 1)) for i in range(ASKED)})
        same = all(plain[i] == plain[again] for i in asked for again in range(i + part, rows, part))
        # Blank lines come again in any text.
        return same and (part <= len(asked) or any(plain[i] != plain[0] for i in asked))

    parts = (rows // copies for copies in range(min(MOST, rows), 1, -1) if rows % copies == 0)
    return next((rows // part for part in parts if come_again(part)), 0)
