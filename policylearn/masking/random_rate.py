"""Masking rates that are drawn: anew for every text or batch, by keyed randomness."""

import torch
from torch import Tensor

from policylearn.config import RandomRate
from policylearn.config.masking import Rate
from policylearn.masking.keys import Stream, uniforms
from policylearn.masking.schedule import rate_at


def rates_of(rate: Rate, progress: float, keys: Tensor) -> float | Tensor:
    """The masking rate of texts with these keys [B], at this share of training: one for all, or [B, 1]."""
    return drawn_rates(rate, keys) if isinstance(rate, RandomRate) else rate_at(rate, progress)


def drawn_rates(rate: RandomRate, keys: Tensor) -> Tensor:
    """A masking rate for every row, [B, 1] float64, from its key alone; per batch, the same for all, from all keys.

        low + (high - low) · x,      x ~ Beta(a, b): the a-th smallest of a + b - 1 uniform numbers

    (David & Nagaraja, *Order Statistics*, 2003); uniform is Beta(1, 1). A random rate is what R²MAE (Dong et al.,
    NeurIPS 2025) trains with, one per batch.

    Args:
        rate: from where to where, and how.
        keys: [B] of `masking.keys`.

    >>> rates = drawn_rates(RandomRate(kind="beta", low=0.1, high=0.5, a=2, b=6), torch.arange(10_000))
    >>> rates.shape, round(float(rates.mean()), 2), round(float(rates.min()), 2)
    (torch.Size([10000, 1]), 0.2, 0.1)
    """
    a, b = rate.shape
    own = keys if rate.per == "text" else keys.sum()[None]
    x = _uniforms(own, a + b - 1).sort(dim=1).values[:, a - 1 : a]
    return (rate.low + (rate.high - rate.low) * x).expand(len(keys), 1)


def whole_rates(tokens: Tensor, keys: Tensor) -> Tensor:
    """A masking rate t for every row, [B, 1] float64, such that t · tokens is a whole number, uniform over 1 … tokens.

    The uniform numbers behind them are stratified over the rows of a batch (Kingma et al., Variational Diffusion
    Models, NeurIPS 2021), in an order drawn by the keys. So the rate of a text, unlike its mask at that rate, depends
    on what is beside it; not on the policy.

    Args:
        tokens: [B], eligible ones of each row.
        keys: [B] of `masking.keys`.

    >>> whole_rates(torch.tensor([4, 4, 4, 4]), torch.tensor([7, 8, 9, 10])).flatten()
    tensor([0.5000, 0.7500, 1.0000, 0.2500], dtype=torch.float64)
    """
    rank = _uniforms(keys).argsort(dim=0, stable=True).argsort(dim=0)
    start = _uniforms(keys.sum()[None])
    n = tokens[:, None].clamp(min=1).double()
    return ((rank + start) / len(keys) * n).floor().add(1.0).minimum(n) / n


def _uniforms(keys: Tensor, count: int = 1) -> Tensor:
    """So many numbers per key [B] that rates are drawn by, [B, count]."""
    return uniforms(keys, torch.arange(count, device=keys.device)[None], Stream.RATE)
