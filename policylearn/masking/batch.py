"""What masking hands to training."""

from dataclasses import dataclass, field

from torch import Tensor

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

    def rows(self, cut: slice) -> "MaskedBatch":
        """Some of the rows."""
        text = (self.original[cut], self.shown[cut], self.real[cut], self.labels[cut])
        lead, keys, p = (x if x is None else x[cut] for x in (self.lead, self.keys, self.p))
        columns = {name: values[cut] for name, values in self.columns.items()}
        draw = self.draw[cut] if isinstance(self.draw, Tensor) else self.draw
        rate = self.rate[cut] if isinstance(self.rate, Tensor) else self.rate
        return MaskedBatch(*text, lead, rate, columns, keys, draw, p)
