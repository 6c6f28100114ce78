"""How much of the targets a policy's masks cover, at the policy's usual rate."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from policylearn.data.tokens import TokenRows
from policylearn.learning.supervised.targets import batch_of
from policylearn.masking import draw_units, example_keys, positions
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.policy.policy import MaskingPolicy

BATCH = 32


@dataclass(frozen=True)
class Coverage:
    """Of the masks of a policy on texts with targets.

    Attributes:
        recall: share of target tokens masked, Σ p over them / their number.
        whole: share of targets all tokens of which are masked at once, in the masks drawn.
        precision: share of masked tokens that are targets, Σ p over targets / Σ p.
        rate: share of eligible tokens masked.
    """

    recall: float
    whole: float
    precision: float
    rate: float


def coverage(
    policy: MaskingPolicy,
    rows: TokenRows,
    pad_id: int,
    draws: int = 1,
    known: str | None = None,
    watch: Watch = UNSEEN,
) -> Coverage:
    """Coverage of the targets of some texts.

    Args:
        policy: π_φ.
        rows: of `token_targets`.
        pad_id: padding token.
        draws: epochs; a mask of each is drawn, and spans are cut anew.
        known: a scorer of the policy that is told the targets, 100 there and 0 elsewhere: a policy that knows them.
        watch: shows how far it is.

    Raises:
        ValueError: no target is of a token that may be masked.
    """
    sums = torch.zeros(6, dtype=torch.float64)
    for picked in watch("targets of dev, texts", rows.by_length(BATCH), len(rows), size=len):
        ids, real, numbers = batch_of(policy, rows, picked, pad_id)
        columns = {known: 100.0 * (numbers > 0)} if known else None
        for p, mask in _drawn(policy, ids, real, draws, columns):
            sums += _sums(p, mask, numbers, policy.eligible(ids, real))
    covered, targets, spent, eligible, whole, spans = sums.tolist()
    if not targets:
        raise ValueError("no target of these texts may be masked: the tokenizer knows none; set model.tokenizer")
    return Coverage(covered / targets, whole / spans, covered / spent, spent / eligible)


def _drawn(
    policy: MaskingPolicy, ids: Tensor, real: Tensor, draws: int, columns: dict[str, Tensor] | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inclusion probabilities and a mask of each of the first epochs, as `mask_tokens` has them at one rate; [B, T]."""
    index, design = positions(real), policy.masking.design
    for epoch in range(draws):
        keys = example_keys(ids, real, 0, epoch)
        lead = policy.units(ids, real, keys)
        with torch.no_grad():
            p = policy.probabilities(ids, real, lead=lead, columns=columns)
        yield p, draw_units(design, p, keys, index, lead, epoch, policy.masking.draws)


def _sums(p: Tensor, mask: Tensor, numbers: Tensor, eligible: Tensor) -> Tensor:
    """Over a batch: p of targets, target tokens, p of all, eligible tokens, targets masked whole, targets; [6]."""
    wanted = numbers > 0
    span = numbers.long() + torch.arange(len(numbers))[:, None] * (1 + int(numbers.max()))
    size, hidden = (torch.bincount(span[wanted], weights=x[wanted].double()) for x in (wanted, mask))
    whole = (size > 0) & (size == hidden)
    counts = (wanted.sum(), p.sum(), eligible.sum(), whole.sum(), (size > 0).sum())
    return torch.stack([p[wanted].sum(), *(count.double() for count in counts)])
