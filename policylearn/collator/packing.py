"""Rows that hold several documents: cut into one row per document, and laid back."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from policylearn.masking.corruption import IGNORED

CUMULATIVE = ("cu_seqlens", "cu_seq_lens_q")
"""Names under which trainers pass where documents end: [D + 1], from 0 to the number of tokens; or, as ModernBERT's
training has it, one such per row."""
OFFSETS = frozenset({*CUMULATIVE, "cu_seq_lens_k"})
"""Columns that are along documents, and not along tokens."""
Masking = Callable[..., tuple[Tensor, Tensor]]
"""(input_ids, protected, **scores), one document per row → (corrupted input_ids, labels); all [B, T]."""


class Documents(NamedTuple):
    """Documents cut out of a batch of packed rows.

    Attributes:
        source: [D, L], where in the flattened batch each token of a document stands; 0 on padding.
        real: [D, L] boolean, not padding.
    """

    source: Tensor
    real: Tensor

    def rows(self, column: Tensor, fill: float = 0) -> Tensor:
        """A column [B, T] as one row per document, [D, L]."""
        return column.flatten()[self.source].masked_fill(~self.real, fill)

    def back(self, rows: Tensor, column: Tensor) -> Tensor:
        """Rows [D, L] laid back where they came from; what belongs to no document stays as it is in `column`."""
        return column.flatten().index_copy(0, self.source[self.real], rows[self.real]).view_as(column)


def documents_of(batch: Mapping[str, Any], real: Tensor) -> Documents | None:
    """The documents of packed rows; None where every row holds one.

    Known from `cu_seqlens` or `cu_seq_lens_q`, from a `seq_idx` or `attention_mask` that numbers documents, or from
    `position_ids` that begin anew, at the lowest of their row; the first of these that is there. Padding may stand
    between documents.

    Args:
        batch: columns [B, T].
        real: [B, T] boolean, not padding.

    Raises:
        ValueError: `cu_seqlens` does not rise from 0 to the number of tokens, of the batch or of each row, another
            column that tells of documents has not a number for each token, or `position_ids` neither rise nor begin
            anew.

    >>> packed = {"position_ids": torch.tensor([[0, 1, 0, 1, 2, 0]])}
    >>> found = documents_of(packed, torch.tensor([[True, True, True, True, True, False]]))
    >>> found.rows(torch.tensor([[11, 12, 21, 22, 23, 0]]))
    tensor([[11, 12,  0],
            [21, 22, 23]])
    >>> found.back(torch.tensor([[1, 1, 0], [2, 2, 2]]), torch.zeros(1, 6, dtype=torch.int64))
    tensor([[1, 1, 2, 2, 2, 0]])
    """
    number = _numbers(batch, real) if real.numel() else None
    if number is None:
        return None
    at = real.flatten().nonzero()[:, 0]
    alongside = (at // real.shape[1]).diff() == 0
    other = number.expand_as(real).flatten()[at].diff() != 0
    if not bool((other & alongside).any()):
        return None
    begins = torch.ones_like(at, dtype=torch.bool)
    begins[1:] = other | ~alongside
    lengths = begins.cumsum(0).unique_consecutive(return_counts=True)[1]
    inside = torch.arange(int(lengths.max()), device=real.device) < lengths[:, None]
    return Documents(torch.zeros_like(inside, dtype=torch.int64).masked_scatter_(inside, at), inside)


def _numbers(batch: Mapping[str, Any], real: Tensor) -> Tensor | None:
    """Numbers [B, T], or [1, T] of all rows, that differ from one document of a row to the next; None where no column
    tells of documents. Of padding they say nothing."""
    mask = batch.get("attention_mask")
    if name := next((name for name in CUMULATIVE if name in batch), None):
        return _begun(batch[name], real, name)
    if "seq_idx" in batch:
        return _along(batch["seq_idx"], real, "seq_idx")
    if mask is not None and bool((mask > 1).any()):
        return mask
    return _begun_anew(_along(batch["position_ids"], real, "position_ids"), real) if "position_ids" in batch else None


def _begun_anew(positions: Tensor, real: Tensor) -> Tensor:
    """How often positions [B, T] have begun anew, at the lowest of their row, up to each token. ValueError: they stay
    or fall elsewhere, which a text by itself may do too."""
    positions = positions.expand_as(real)
    begins = real & (positions == positions.masked_fill(~real, positions.max()).amin(1, keepdim=True))
    if len(wrong := _neither_rise(positions, begins, real)):
        i = int(wrong[0])
        raise ValueError(
            f"position_ids of row {i} neither rise nor begin anew, {positions[i][real[i]][:8].tolist()}: number its "
            "documents in a column seq_idx (0 throughout, if it is one), or drop position_ids"
        )
    return begins.cumsum(1)


def _neither_rise(positions: Tensor, begins: Tensor, real: Tensor) -> Tensor:
    """The rows, of [B, T], whose positions stay or fall where they do not begin anew, or rise nowhere."""
    at = real.flatten().nonzero()[:, 0]
    row = at // real.shape[1]
    step = row.diff() == 0
    stays, begun = (positions.flatten()[at].diff() <= 0)[step], begins.flatten()[at][1:][step]
    row = row[1:][step]

    def some(which: Tensor) -> Tensor:
        return torch.zeros_like(real[:, 0]).index_fill_(0, row[which], True)

    return (some(stays & ~begun) | some(stays) & ~some(~stays)).nonzero()[:, 0]


def _along(column: Tensor, real: Tensor, name: str) -> Tensor:
    """A column [B, T], or [1, T] of all rows. ValueError: positions of pictures, for one, are [3, B, T]."""
    if column.dim() != 2 or column.shape[1] != real.shape[1] or column.shape[0] not in (1, len(real)):
        raise ValueError(
            f"{name} has shape {list(column.shape)}, input_ids {list(real.shape)}: give one number per token, or say "
            f"where documents end, in {CUMULATIVE[0]}"
        )
    return column


def _begun(ends: Any, real: Tensor, name: str) -> Tensor:
    """How many documents have begun up to each token [B, T], which end at `ends`, of the whole batch or of each row."""
    starts = torch.zeros_like(real)
    starts[:, :1] = True
    _begin_at(starts, ends, real, name)
    return starts.flatten().cumsum(0).view_as(real)


def _begin_at(starts: Tensor, ends: Any, real: Tensor, name: str) -> None:
    """Mark in `starts` [B, T] where documents begin that end at `ends`, of the whole batch or of each row."""
    if isinstance(ends, (list, tuple)) and len(ends) and len(torch.as_tensor(ends[0]).shape):
        rows = [torch.as_tensor(row).long() for row in ends]
    elif torch.as_tensor(ends).dim() == 2 and len(ends) == len(starts):
        rows = list(torch.as_tensor(ends).long())
    else:
        return _mark(
            starts.view(-1), torch.as_tensor(ends).long().flatten(), name, f"{real.numel()} tokens of the batch"
        )
    if len(rows) != len(starts):
        raise ValueError(f"{name} has {len(rows)} rows, the batch {len(starts)}: give where documents end for each")
    for i, (row, row_ends, there) in enumerate(zip(starts, rows, real, strict=True)):
        total = int(row_ends[-1]) if len(row_ends) else 0
        if 0 < total < len(row) and not bool(there[total:].any()):
            row[total] = True  # padding on the right, which is no document
            row = row[:total]
        elif 0 < total < len(row) and not bool(there[: len(row) - total].any()):
            row = row[len(row) - total :]
        _mark(row, row_ends, name, f"{len(row)} tokens of row {i}")


def _mark(starts: Tensor, ends: Tensor, name: str, of: str) -> None:
    """Mark where documents begin in `starts` [T], which they fill."""
    if len(ends) < 2 or ends[0] != 0 or ends[-1] != len(starts) or bool((ends.diff() < 0).any()):
        shown = ends[:8].tolist()
        raise ValueError(f"{name} must rise from 0 to the {of}, got {shown if len(ends) < 9 else [*shown, '…']}")
    starts[ends[ends < len(starts)]] = True


def mask_documents(
    mask: Masking,
    documents: Documents | None,
    input_ids: Tensor,
    real: Tensor,
    protected: Tensor,
    scores: Mapping[str, Tensor],
    padding: int,
) -> tuple[Tensor, Tensor]:
    """`mask` where rows may hold several documents: each is handed over as a row of its own, and laid back.

    Args:
        mask: the masking of a batch.
        documents: of `documents_of`.
        input_ids: [B, T].
        real: [B, T] boolean, not padding, which is handed over as the padding token, whatever stands there.
        protected: [B, T] boolean, padding included.
        scores: scorer → [B, T].
        padding: id of the padding token.
    """
    if documents is None:
        shown, labels = mask(input_ids.masked_fill(~real, padding), protected, **scores)
        return torch.where(real, shown, input_ids), labels
    rows = documents.rows(input_ids, padding), documents.rows(protected, True)
    shown, labels = mask(*rows, **{name: documents.rows(column) for name, column in scores.items()})
    return documents.back(shown, input_ids), documents.back(labels, torch.full_like(input_ids, IGNORED))
