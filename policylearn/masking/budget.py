"""From logits to inclusion probabilities that spend an exact budget.

Everything is row by row: what stands beside a row in the batch changes no more than the order of additions.
"""

import math
from typing import Any

import torch
from torch import Tensor

from policylearn.messages.quote import quote

STEP = 1e-5
"""The search ends when the next Newton step is shorter. Taken linearly, that step leaves a relative error in p below
STEP² / 2, and none in the sum."""
ROUNDING = 1e-13
"""... or when the sum is right to this share of the weights: a row of zeros and ones has no slope to follow."""
EVALUATIONS = 100
"""Two or three are usual; the safeguard by bisection needs this many in the worst case."""
WIDE = 200.0
"""Logits of a row that are spread wider are cut to ± WIDE / 2 around the one that matters: sigmoid(50) is 1."""


def masked_total(eligible: Tensor, rate: float | Tensor) -> Tensor:
    """Expected number of masked tokens per row, [B] float64: rate · n, but never below one mask in
    a row that has an eligible position, so that no example is read in vain.
    """
    n = eligible.sum(1, keepdim=True).double()
    return (rate * n).clamp(min=1.0).minimum(n)[:, 0]


def budget(
    logits: Tensor, eligible: Tensor, rate: float | Tensor, p_max: float = 1.0, sizes: Tensor | None = None
) -> Tensor:
    """Inclusion probabilities p_i = c · sigmoid(logit_i - shift) with Σ_i z_i p_i = rate · Σ_i z_i.

    z_i is the size of unit i in tokens, 1 without `sizes`. Every row with an eligible unit gets Σ_i p_i ≥ 1 (in
    units), so that a design of fixed size masks at least one. Where long units take so much of a budget that this does
    not hold, p is mixed with p_i = rate, which spends the same, as far as it takes; rows of so few units that not even
    those have Σ_i p_i = 1 spend that (`masking.lengths` cuts units so that they are the rows with rate · n < 1).
    The cap c is `p_max`, raised to 1 only in rows too short to spend their budget below it, or of a higher rate.

    The shift is found by Newton's method on the log-odds of the spent share, within a bracket. The gradient is the
    implicit one, any number of times: ∂p_i/∂logit_j = s_i (δ_ij - z_j s_j / Σ_k z_k s_k), s = p (1 - p / c).

    Args:
        logits: [B, T]; ignored where not eligible.
        eligible: [B, T] boolean; with `sizes`, at the leads of eligible units only.
        rate: share of eligible tokens to mask, 0 < rate < p_max; or one for each row, [B, 1], up to 1.
        p_max: largest probability any position may get, at most 1.
        sizes: [B, T] int64, tokens of the unit led by each position (`masking.units`); ignored where not eligible.

    Returns:
        [B, T] float64, zero where not eligible.

    Raises:
        ValueError: a shape or type is another, the rate is not in (0, p_max), an eligible logit is not finite, or an
            eligible unit has no tokens.

    >>> eligible = torch.tensor([[True, True, True, False]])
    >>> budget(torch.tensor([[0.0, 0.0, 2.0, 9.0]]), eligible, 0.5)
    tensor([[0.3503, 0.3503, 0.7994, 0.0000]], dtype=torch.float64)
    >>> p = budget(torch.zeros(1, 4), eligible, 0.25, sizes=torch.tensor([[2, 1, 5, 9]]))
    >>> p, float(p @ torch.tensor([2.0, 1, 5, 9]).double())  # a quarter of 8 tokens is 2 ... but masks no whole unit
    (tensor([[0.3333, 0.3333, 0.3333, 0.0000]], dtype=torch.float64), 2.6666666666666665)
    """
    _check_shapes(logits, eligible, rate, sizes)
    if isinstance(rate, Tensor):
        if not bool(((rate > 0.0) & (rate <= 1.0)).all()):
            raise ValueError(f"masking rates {quote(rate.flatten().tolist())} must lie between 0 and 1")
    elif not 0.0 < rate < p_max <= 1.0:
        raise ValueError(f"masking rate {rate} must lie between 0 and p_max = {p_max}, p_max at most 1")
    ones = eligible.double()
    if not logits.shape[1]:
        return ones  # of no tokens
    if sizes is None:
        return _spend(logits, eligible, ones, ones, masked_total(eligible, rate), p_max)
    if bool((eligible & (sizes < 1)).any()):
        raise ValueError("an eligible unit has no tokens: `eligible` must be True at the leads of units only")
    weights = ones * sizes
    total = (rate * weights.sum(1, keepdim=True))[:, 0]
    p = _spend(logits, eligible, ones, weights, total, p_max)
    most = rate * ones.sum(1, keepdim=True)
    p = _mixed(p, rate * ones, most)
    few = ((most < 1.0) & (p.detach().sum(1, keepdim=True) < 1.0))[:, 0] & (total > 0)
    if not bool(few.any()):
        return p
    weights, total = torch.where(few[:, None], ones, weights), total.masked_fill(few, 1.0)
    return torch.where(few[:, None], _spend(logits, eligible, ones, weights, total, p_max), p)


def _check_shapes(logits: Tensor, eligible: Tensor, rate: float | Tensor, sizes: Tensor | None) -> None:
    """Of other shapes torch would make one row's numbers those of all."""
    if logits.dim() != 2:
        raise ValueError(f"logits have shape {list(logits.shape)}: give [B, T], a row per text")
    for name, given in (("eligible", eligible), ("sizes", sizes)):
        if given is not None and given.shape != logits.shape:
            raise ValueError(
                f"{name} has shape {list(given.shape)}, the logits {list(logits.shape)}: give one for each"
            )
    if eligible.dtype != torch.bool:
        raise ValueError(f"eligible is of {eligible.dtype}: give booleans, eligible.bool()")
    if isinstance(rate, Tensor) and rate.dim() and rate.shape != (len(logits), 1):
        raise ValueError(f"rate has shape {list(rate.shape)}: give a number, or one for each row, [{len(logits)}, 1]")


def _mixed(p: Tensor, even: Tensor, most: Tensor) -> Tensor:
    """(1 - t) p + t even, [B, T], with the least t in [0, 1] for which a row comes to one, where `even` does; most
    [B, 1] = Σ even."""
    units = p.sum(1, keepdim=True)
    short = (units.detach() < 1.0) & (most >= 1.0)
    if not bool(short.any()):
        return p
    t = (1.0 - units) / torch.where(short, most - units, 1.0)
    return torch.where(short, p + t.clamp(max=1.0) * (even - p), p)


def _spend(logits: Tensor, eligible: Tensor, ones: Tensor, weights: Tensor, total: Tensor, p_max: float) -> Tensor:
    """p [B, T] with Σ weights · p = total [B], differentiable in the logits; `ones` is `eligible` in float64."""
    weight = weights.sum(1, keepdim=True).clamp(min=1.0)
    cap = torch.full_like(weight, p_max).masked_fill(total[:, None] > p_max * weight, 1.0)
    share = total[:, None] / (cap * weight)
    with torch.no_grad():
        x, low, high = _filled(logits.detach(), eligible)
        p = ones * share
        # Equal logits, and budgets that fill the row to the cap, need no search.
        search = (low < high) & (share < 1 - 1e-9)
        if bool(search.any()):
            share = torch.where(search, share, 0.5)
            x = _cut(x, weights, share * weight, low, high) if bool((high - low > WIDE).any()) else x - high
            found = ones * _solve(x, weights, weight, share)
            p = found if bool(search.all()) else torch.where(search, found, p)
        p = cap * p
    return _ImplicitGradient.apply(logits, p, weights, cap) if logits.requires_grad else p


def _filled(logits: Tensor, eligible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [B, T] with the largest of its row wherever nothing is eligible, and their range, 2 x [B, 1]; float64."""
    high = torch.where(eligible, logits, -math.inf).amax(1, keepdim=True)
    x = torch.where(eligible, logits, high.masked_fill(high == -math.inf, 0.0)).double()
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    if not bool((torch.isfinite(low) & torch.isfinite(high)).all()):
        raise ValueError("a masking logit is NaN or infinite: check the scores and the network it was made of")
    return x, low, high


def _cut(x: Tensor, weights: Tensor, target: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Logits less a number per row, at most WIDE apart, with the same p.

    Let v be the logit at which the weights from the top first exceed the target. If Σ weights · sigmoid(x - shift) is
    to meet the target, then p = 1 far above v and p = 0 far below, wherever exactly a logit stands. Differences close
    to v survive however large the logits are.
    """
    falling, order = x.sort(dim=1, descending=True, stable=True)
    above = (weights.gather(1, order).cumsum(1) <= target).sum(1, keepdim=True)
    v = falling.gather(1, above.clamp(max=x.shape[1] - 1))
    wide = high - low > WIDE
    return torch.where(wide, (x - v).clamp(-WIDE / 2, WIDE / 2), x - high)


def _solve(x: Tensor, weights: Tensor, weight: Tensor, share: Tensor) -> Tensor:
    """sigmoid(x - shift), [B, T], with Σ weights · sigmoid(x - shift) = share · weight; weight [B, 1] = Σ weights."""
    odds, target, rounding = torch.logit(share), share * weight, ROUNDING * weight
    low, high = x.amin(1, keepdim=True) - odds, x.amax(1, keepdim=True) - odds
    shift = _guess(x, weights, weight, odds).clamp(low, high)
    for evaluation in range(EVALUATIONS):
        p = torch.sigmoid(x - shift)
        spent = weights * p
        total = spent.sum(1, keepdim=True)
        slope = torch.addcmul(spent, spent, p, value=-1.0).sum(1, keepdim=True).clamp(min=1e-300)
        excess = total - target
        done = excess.abs() <= torch.maximum(STEP * slope, rounding)
        if bool(done.all()):
            break
        # Newton on log-odds, where the sum is nearly a straight line. Only on a plateau does it leave the bracket.
        mean = (total / weight).clamp(max=1 - 1e-16)
        newton = shift + (torch.logit(mean) - odds) * total * (1.0 - mean) / slope
        low, high = torch.where(excess > 0, shift, low), torch.where(excess > 0, high, shift)
        if evaluation >= 8 and evaluation % 2:
            newton = (low + high) / 2
        # Rows that are done stay where they are, so that no row depends on its neighbours.
        shift = torch.where(done, shift, torch.where((newton > low) & (newton < high), newton, (low + high) / 2))
    step = excess / slope
    return (p - p * (1.0 - p) * step.masked_fill(step.abs() > STEP, 0.0)).clamp(max=1.0)


def _guess(x: Tensor, weights: Tensor, weight: Tensor, odds: Tensor) -> Tensor:
    """The shift if the logits were normally distributed, by
    E sigmoid(x) ≈ sigmoid(mean / sqrt(1 + π variance / 8)) (MacKay, Neural Computation 4(5), 1992); [B, 1]."""
    mean = (weights * x).sum(1, keepdim=True) / weight
    variance = (weights * (x - mean).square()).sum(1, keepdim=True) / weight
    return mean - odds * (1 + math.pi / 8 * variance).sqrt()


class _ImplicitGradient(torch.autograd.Function):
    """Hands p on, and differentiates it as the solution of Σ weights · p = constant."""

    @staticmethod
    def forward(logits: Tensor, p: Tensor, weights: Tensor, cap: Tensor) -> Tensor:
        return p.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor], output: Tensor) -> None:
        logits, _, weights, cap = inputs
        ctx.dtype = logits.dtype
        ctx.save_for_backward(output, weights, cap)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        p, weights, cap = ctx.saved_tensors
        s = p * (1.0 - p / cap)
        total = (weights * s).sum(1, keepdim=True).clamp(min=1e-300)
        shared = (gradients[0] * s).sum(1, keepdim=True) / total
        return (s * (gradients[0] - weights * shared)).to(ctx.dtype), None, None, None
