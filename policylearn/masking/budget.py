"""From logits to inclusion probabilities that spend an exact budget."""

import torch
from torch import Tensor

BISECTIONS = 48


def masked_total(eligible: Tensor, rate: float) -> Tensor:
    """Expected number of masked positions per row, [B] float64: rate · n, but never below one mask in
    a row that has an eligible position, so that no example is read in vain."""
    n = eligible.sum(1).double()
    return torch.where(n > 0, (rate * n).clamp(min=1.0), 0.0).minimum(n)


def budget(logits: Tensor, eligible: Tensor, rate: float, p_max: float = 1.0) -> Tensor:
    """Inclusion probabilities p_i = c · sigmoid(logit_i - shift) with Σ_i p_i = max(rate · n, 1).

    The shift is found by bisection in float64; one Newton step at the solution carries the gradient,
    which makes it the implicit one: ∂p_i/∂logit_j = s_i (δ_ij - s_j / Σ_k s_k), s = p (1 - p / c).
    The cap c is `p_max`, raised only in rows too short to spend their budget below it.

    Args:
        logits: [B, T]; ignored where not eligible.
        eligible: [B, T] boolean.
        rate: share of eligible positions to mask, 0 < rate < p_max.
        p_max: largest probability any position may get, at most 1.

    Returns:
        [B, T] float64, zero where not eligible.

    Raises:
        ValueError: the rate is not in (0, p_max), or an eligible logit is not finite.

    >>> budget(torch.tensor([[0.0, 0.0, 2.0, 9.0]]), torch.tensor([[True, True, True, False]]), 0.5)
    tensor([[0.3503, 0.3503, 0.7994, 0.0000]], dtype=torch.float64)
    """
    if not 0.0 < rate < p_max <= 1.0:
        raise ValueError(f"masking rate {rate} must lie between 0 and p_max = {p_max}, p_max at most 1")
    if not bool(torch.isfinite(logits.detach())[eligible].all()):
        raise ValueError("a masking logit is NaN or infinite: check the scores the policy was built from")
    x = torch.where(eligible, logits, 0.0).double()
    total = masked_total(eligible, rate)[:, None]
    n = eligible.sum(1, keepdim=True).clamp(min=1)
    tight = total >= 0.999 * p_max * n
    cap = torch.where(tight, torch.ones_like(total), p_max)
    with torch.no_grad():
        shift = _bisect_shift(x, eligible, total / cap, n)
        s = torch.sigmoid(x - shift)
        slope = (s * (1 - s) * eligible).sum(1, keepdim=True).clamp(min=1e-300)
    newton = shift + ((torch.sigmoid(x - shift) * eligible).sum(1, keepdim=True) - total / cap) / slope
    # A saturated row (every sigmoid 0 or 1) has no slope to follow: its bisected shift stands.
    safe = torch.where((newton - shift).abs() < 1.0, newton, shift)
    p = cap * torch.sigmoid(x - safe)
    p = torch.where(tight & (total >= 0.999 * n), total / n, p)
    return torch.where(eligible, p, 0.0)


def _bisect_shift(x: Tensor, eligible: Tensor, target: Tensor, n: Tensor) -> Tensor:
    """The shift with Σ sigmoid(x - shift) = target, [B, 1]; the sum falls as the shift grows."""
    share = (target / n).clamp(1e-12, 1 - 1e-12)
    low = torch.where(eligible, x, torch.inf).amin(1, keepdim=True) - torch.logit(share)
    high = torch.where(eligible, x, -torch.inf).amax(1, keepdim=True) - torch.logit(share)
    low, high = low.nan_to_num(posinf=0.0), high.nan_to_num(neginf=0.0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        above = (torch.sigmoid(x - middle) * eligible).sum(1, keepdim=True) > target
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (low + high) / 2
