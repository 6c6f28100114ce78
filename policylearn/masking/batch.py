"""What masking hands to training."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from policylearn.masking.corruption import IGNORED


@dataclass(frozen=True)
class MaskedBatch:
    """One MLM batch after masking.

    Attributes:
        original: [B, T] before anything was hidden, token ids for a text: what the policy looks at.
        shown: [B, T] what the model looks at.
        real: [B, T] boolean, not padding; in a causal phase [B, T, T], which tokens each may look at.
        labels: [B, T], -100 where nothing is predicted.
        lead: [B, T] of `masking.units`, the units that were masked as one; None: single tokens.
        rate: the masking rate, [B, 1] if rows have one each; None: the policy's usual one.
        columns: scorer name → [B, T] scores that came with the text, NaN where unknown.
        keys: [B] of `masking.keys`, with which the mask was drawn; None: drawn otherwise.
        draw: number of the draw, for designs in which several share their keys; [B] if rows have one each.
        p: [B, T] float64, the inclusion probabilities with which the mask was drawn; None: not known.
    """

    original: Tensor
    shown: Tensor
    real: Tensor
    labels: Tensor
    lead: Tensor | None = None
    rate: float | Tensor | None = None
    columns: dict[str, Tensor] = field(default_factory=dict)
    keys: Tensor | None = None
    draw: int | Tensor = 0
    p: Tensor | None = None

    @property
    def mask(self) -> Tensor:
        """[B, T] boolean, the M positions to be predicted."""
        return self.labels != IGNORED

    def rows(self, cut: Any) -> "MaskedBatch":
        """Some of the rows: a slice, or their numbers."""
        text = (self.original[cut], self.shown[cut], self.real[cut], self.labels[cut])
        lead, keys, p = (x if x is None else x[cut] for x in (self.lead, self.keys, self.p))
        columns = {name: values[cut] for name, values in self.columns.items()}
        draw = self.draw[cut] if isinstance(self.draw, Tensor) else self.draw
        rate = self.rate[cut] if isinstance(self.rate, Tensor) else self.rate
        return MaskedBatch(*text, lead, rate, columns, keys, draw, p)

    def upto(self, width: int) -> "MaskedBatch":
        """What a loss reads of the first so many places of every row, behind which there must be but padding."""
        original, shown, real, labels = (x[:, :width] for x in (self.original, self.shown, self.real, self.labels))
        return MaskedBatch(original, shown, real, labels, rate=self.rate)


def beside(batches: Sequence[MaskedBatch], pad_id: int) -> MaskedBatch:
    """What a loss reads of several batches, as one, padded to the longest.

    >>> import torch
    >>> short, long = (torch.full((1, n), n) for n in (1, 2))
    >>> beside([MaskedBatch(x, x, x > 0, x) for x in (short, long)], pad_id=0).shown
    tensor([[1, 0],
            [2, 2]])
    """
    fills = {"original": pad_id, "shown": pad_id, "real": False, "labels": IGNORED}
    original, shown, real, labels = (
        pad_sequence([row for batch in batches for row in getattr(batch, name)], True, fill)
        for name, fill in fills.items()
    )
    rate = batches[0].rate
    if isinstance(rate, Tensor):
        rate = torch.cat([torch.as_tensor(batch.rate).expand(len(batch.labels), 1) for batch in batches])
    return MaskedBatch(original, shown, real, labels, rate=rate)
