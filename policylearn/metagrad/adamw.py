"""Backwards through one step of AdamW: the adjoint of its elementwise update, in closed form.

With step number t, gradient g and decay λ the update (Loshchilov & Hutter, 2019, as `torch.optim.AdamW` computes it) is

    m' = β₁ m + (1 - β₁) g
    v' = β₂ v + (1 - β₂) g²
    θ' = (1 - rate λ) θ - a m' / (√(v' / c) + ε),        a = rate / (1 - β₁ᵗ),  c = 1 - β₂ᵗ

and reverse-mode differentiation of these three lines is what `adjoint_step` does.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Settings:
    """What one step of AdamW is told about one parameter; `number` is t, 1 for the first step."""

    rate: float
    decay: float
    beta1: float
    beta2: float
    eps: float
    number: int

    @classmethod
    def of(cls, group: dict[str, Any], state: dict[str, Any], rate: float) -> "Settings":
        """Those of the step that an optimiser in this state, possibly none yet, takes next.

        >>> Settings.of({"weight_decay": 0.1, "betas": (0.9, 0.98), "eps": 1e-8}, {}, rate=0.5).number
        1
        """
        beta1, beta2 = group["betas"]
        return cls(rate, group["weight_decay"], beta1, beta2, group["eps"], int(state.get("step", 0)) + 1)


@dataclass(frozen=True)
class Adjoint:
    """Derivatives of a scalar in parameter, first and second moment; all of the parameter's shape.

    `adjoint_step` writes into them.
    """

    theta: Tensor
    m: Tensor
    v: Tensor


def adjoint_step(after: Adjoint, m: Tensor, v: Tensor, g: Tensor, settings: Settings) -> Tensor:
    """Turn the derivatives in (θ', m', v') into those in (θ, m, v) at fixed g, and g into the one in g, in place.

    What θ does to g is the caller's part. A second moment of exactly zero, which is that of a parameter that
    never had a gradient, counts as constant: a square root has no slope there.

    Args:
        after: derivatives in θ', m', v'; afterwards those in θ, m, v.
        m, v: moments before the step.
        g: gradient of the step; afterwards u, the derivative in it.
        settings: of the step.

    Returns:
        u.

    >>> one = torch.ones(1, dtype=torch.float64)
    >>> after = Adjoint(one.clone(), 0 * one, 0 * one)
    >>> at = Settings(rate=0.1, decay=0.5, beta1=0.9, beta2=0.99, eps=0.0, number=1)
    >>> round(adjoint_step(after, 0 * one, 0 * one, one.clone(), at).item(), 9)  # a first step goes by the sign alone
    0.0
    >>> [round(x.item(), 4) for x in (after.theta, after.m, after.v)]
    [0.95, -0.9, 4.95]
    """
    s, tiny = settings, torch.finfo(torch.float32).tiny
    a, c = s.rate / (1 - s.beta1**s.number), 1 - s.beta2**s.number
    v_next = (s.beta2 * v).addcmul_(g, g, value=1 - s.beta2)
    root = v_next.clamp(min=tiny).div_(c).sqrt_()
    slope = (after.theta / (root + s.eps)).mul_(-a)  # derivative in m' by way of θ'
    after.m.add_(slope)
    bend = slope.mul_(torch.lerp(m, g, 1 - s.beta1)).div_((root + s.eps).mul_(root).mul_(-2 * c))
    after.v.add_(bend.masked_fill_(v_next < tiny, 0.0))
    g.mul_(after.v).mul_(2 * (1 - s.beta2)).add_(after.m, alpha=1 - s.beta1)
    after.theta.mul_(1 - s.rate * s.decay)
    after.m.mul_(s.beta1)
    after.v.mul_(s.beta2)
    return g
