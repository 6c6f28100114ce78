"""Backwards through the updates of optimisers: the adjoints of AdamW, SGD and gradient clipping, in closed form.

All are elementwise, but for one inner product in clipping, so reverse-mode differentiation of the few lines each
consists of can be written down. Primes mark what comes after the step, g is its gradient.

AdamW (Loshchilov & Hutter, 2019, as `torch.optim.AdamW` computes it), step number t, decay λ:

    m' = β₁ m + (1 - β₁) g
    v' = β₂ v + (1 - β₂) g²
    θ' = (1 - rate λ) θ - a m' / (√(v' / c) + ε),        a = rate / (1 - β₁ᵗ),  c = 1 - β₂ᵗ

SGD with momentum μ and coupled decay (as `torch.optim.SGD`):

    b' = μ b + g + λ θ
    θ' = θ - rate b'

Clipping to norm C (as `torch.nn.utils.clip_grad_norm_`): g ↦ s g with s = min(1, C / (‖g‖ + 10⁻⁶)).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

Gradients = Sequence[Tensor | None]
"""Of one step, in the order of the model's parameters; None for a parameter the loss does not see."""


@dataclass(frozen=True)
class Adjoint:
    """Derivatives of a scalar in a parameter, and in what the optimiser remembers of it by name; all of its shape.

    Going back over an update writes into them.
    """

    theta: Tensor
    moments: dict[str, Tensor]


Back = Callable[[Adjoint, Mapping[str, Tensor], Tensor, Mapping[str, Any]], Tensor]


def back_over_adamw(after: Adjoint, state: Mapping[str, Tensor], g: Tensor, group: Mapping[str, Any]) -> Tensor:
    """Turn the derivatives in (θ', m', v') into those in (θ, m, v) at fixed g, and g into the one in g, in place.

    What θ does to g is the caller's part. A second moment of exactly zero, which is that of a parameter that
    never had a gradient, counts as constant: a square root has no slope there.

    Args:
        after: derivatives in θ', m', v'; afterwards those in θ, m, v.
        state: the optimiser's, of this parameter before the step; empty before the first.
        g: gradient of the step; afterwards u, the derivative in it.
        group: the optimiser's settings, with the learning rate of the step.

    Returns:
        u.

    >>> one = torch.ones(1, dtype=torch.float64)
    >>> after = Adjoint(one.clone(), {"exp_avg": 0 * one, "exp_avg_sq": 0 * one})
    >>> settings = {"lr": 0.1, "weight_decay": 0.5, "betas": (0.9, 0.99), "eps": 0.0}
    >>> round(back_over_adamw(after, {}, one.clone(), settings).item(), 9)  # a first step goes by the sign alone
    0.0
    >>> [round(x.item(), 4) for x in (after.theta, *after.moments.values())]
    [0.95, -0.9, 4.95]
    """
    (beta1, beta2), rate, eps = group["betas"], group["lr"], group["eps"]
    number, tiny, zero = int(state.get("step", 0)) + 1, torch.finfo(torch.float32).tiny, g.new_zeros(())
    a, c = rate / (1 - beta1**number), 1 - beta2**number
    m, v = (state.get(name, zero).expand_as(g) for name in ADAMW)
    after_m, after_v = (after.moments[name] for name in ADAMW)
    v_next = (beta2 * v).addcmul_(g, g, value=1 - beta2)
    root = v_next.clamp(min=tiny).div_(c).sqrt_()
    slope = (after.theta / (root + eps)).mul_(-a)  # derivative in m' by way of θ'
    after_m.add_(slope)
    bend = slope.mul_(torch.lerp(m, g, 1 - beta1)).div_((root + eps).mul_(root).mul_(-2 * c))
    after_v.add_(bend.masked_fill_(v_next < tiny, 0.0))
    g.mul_(after_v).mul_(2 * (1 - beta2)).add_(after_m, alpha=1 - beta1)
    after.theta.mul_(1 - rate * group["weight_decay"])
    after_m.mul_(beta1)
    after_v.mul_(beta2)
    return g


def back_over_sgd(after: Adjoint, state: Mapping[str, Tensor], g: Tensor, group: Mapping[str, Any]) -> Tensor:
    """The same for SGD: (θ', b') to (θ, b), and g to u. The update is linear, so neither state nor g matters.

    >>> after = Adjoint(torch.ones(1), {"momentum_buffer": torch.zeros(1)})
    >>> back_over_sgd(after, {}, torch.zeros(1), {"lr": 0.5, "weight_decay": 0.25, "momentum": 0.5})
    tensor([-0.5000])
    >>> after
    Adjoint(theta=tensor([0.8750]), moments={'momentum_buffer': tensor([-0.2500])})
    """
    torch.mul(after.theta, -group["lr"], out=g)
    if buffer := [after.moments[name] for name in SGD if group["momentum"]]:
        g.add_(buffer[0])
        torch.mul(g, group["momentum"], out=buffer[0])
    after.theta.add_(g, alpha=group["weight_decay"])
    return g


ADAMW, SGD = ("exp_avg", "exp_avg_sq"), ("momentum_buffer",)
UPDATES: dict[type, tuple[Back, tuple[str, ...]]] = {
    torch.optim.AdamW: (back_over_adamw, ADAMW),
    torch.optim.SGD: (back_over_sgd, SGD),
}
"""Optimiser → how to go back over its update, and the names of what it remembers."""


def update_of(optimizer: torch.optim.Optimizer) -> tuple[Back, tuple[str, ...]]:
    """The entry of `UPDATES`.

    Raises:
        ValueError: there is none, or not for a setting of this optimiser.
    """
    kind = type(optimizer)
    if kind not in UPDATES:
        raise ValueError(f"cannot differentiate through {kind.__name__}: use AdamW or SGD")
    for name in ("amsgrad", "maximize", "nesterov", "dampening"):
        if any(group.get(name) for group in optimizer.param_groups):
            raise ValueError(f"cannot differentiate through {kind.__name__} with {name}: leave it off")
    back, names = UPDATES[kind]
    momentum = any(group.get("momentum", True) for group in optimizer.param_groups)
    return back, names if momentum else ()


def clipping(gradients: Gradients, clip: float | None) -> tuple[Tensor, Tensor] | None:
    """(‖g‖ over all parameters, factor s it is clipped by); None where nothing is.

    >>> norm, scale = clipping([torch.tensor([3.0]), None, torch.tensor([4.0])], clip=1.0)
    >>> norm.item(), round(scale.item(), 4)
    (5.0, 0.2)
    """
    if clip is None:
        return None
    norm = get_total_norm([g for g in gradients if g is not None])
    return norm, clip_factor(norm, clip)


def clip_factor(norm: Tensor, clip: float) -> Tensor:
    """s of a gradient of this norm.

    >>> clip_factor(torch.tensor(0.5), clip=1.0)
    tensor(1.)
    """
    return (clip / (norm + 1e-6)).clamp(max=1.0)


def back_over_clipping(u: Gradients, gradients: Gradients, norm: Tensor, scale: Tensor) -> None:
    """Turn derivatives in the clipped gradients s g into those in g, in place: s (u - g (u·g) / (‖g‖ (‖g‖ + 10⁻⁶))).

    >>> u, g = torch.tensor([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> back_over_clipping([u], [g], *clipping([g], clip=1.0))
    >>> [round(x, 4) for x in u.tolist()]  # nothing of it is left along g
    [0.032, -0.024]
    """
    pairs = [(a, g) for a, g in zip(u, gradients, strict=True) if a is not None and g is not None]
    along = torch.stack([(a * g).sum() for a, g in pairs]).sum() / (norm * (norm + 1e-6))
    along = torch.where(scale < 1, along, 0.0)
    for a, g in pairs:
        a.sub_(g * along).mul_(scale)
