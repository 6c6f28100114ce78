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

from collections.abc import Callable, Iterator, Mapping, Sequence
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


Back = Callable[[Sequence[Adjoint], Sequence[Mapping[str, Tensor]], list[Tensor], Mapping[str, Any]], None]
"""Of parameters of one group of the optimiser and as many steps, all at once: an operation on a small one takes longer
to start than to carry out, and is started for a list of them (`torch._foreach_…`), which changes no bit."""
LARGEST = 2**22
"""Elements of such a list, at most, but for a parameter larger than that: what it needs beside itself is small."""


def back_over_adamw(
    after: Sequence[Adjoint], states: Sequence[Mapping[str, Tensor]], g: list[Tensor], group: Mapping[str, Any]
) -> None:
    """Turn the derivatives in (θ', m', v') into those in (θ, m, v) at fixed g, and g into the one in g, in place.

    What θ does to g is the caller's part. A second moment of exactly zero, which is that of a parameter that
    never had a gradient, counts as constant: a square root has no slope there.

    Args:
        after: derivatives in θ', m', v' of each parameter; afterwards those in θ, m, v.
        states: the optimiser's, of each before the step; empty before the first.
        g: gradients of the step; afterwards u, the derivatives in them.
        group: the optimiser's settings, with the learning rate of the step.

    >>> one = torch.ones(1, dtype=torch.float64)
    >>> after, u = Adjoint(one.clone(), {"exp_avg": 0 * one, "exp_avg_sq": 0 * one}), one.clone()
    >>> settings = {"lr": 0.1, "weight_decay": 0.5, "betas": (0.9, 0.99), "eps": 0.0}
    >>> back_over_adamw([after], [{}], [u], settings)
    >>> round(u.item(), 9)  # a first step goes by the sign alone
    0.0
    >>> [round(x.item(), 4) for x in (after.theta, *after.moments.values())]
    [0.95, -0.9, 4.95]
    """
    (beta1, beta2), rate, eps = group["betas"], group["lr"], group["eps"]
    number, tiny = int(states[0].get("step", 0)) + 1, torch.finfo(torch.float32).tiny
    a, c = rate / (1 - beta1**number), 1 - beta2**number
    m, v = ([_moment(name, *of) for of in zip(states, g, strict=True)] for name in ADAMW)
    theta, (after_m, after_v) = [x.theta for x in after], ([x.moments[name] for x in after] for name in ADAMW)
    v_next = torch._foreach_mul(v, beta2)
    torch._foreach_addcmul_(v_next, g, g, value=1 - beta2)
    root = torch._foreach_clamp_min(v_next, tiny)
    torch._foreach_div_(root, c)
    torch._foreach_sqrt_(root)
    below = torch._foreach_add(root, eps)
    slope = torch._foreach_div(theta, below)
    torch._foreach_mul_(slope, -a)  # derivative in m' by way of θ'
    torch._foreach_add_(after_m, slope)
    torch._foreach_mul_(slope, torch._foreach_lerp(m, g, 1 - beta1))
    torch._foreach_mul_(below, root)
    torch._foreach_mul_(below, -2 * c)
    torch._foreach_div_(slope, below)
    for bend, second in zip(slope, v_next, strict=True):
        bend.masked_fill_(second < tiny, 0.0)
    torch._foreach_add_(after_v, slope)
    torch._foreach_mul_(g, after_v)
    torch._foreach_mul_(g, 2 * (1 - beta2))
    torch._foreach_add_(g, after_m, alpha=1 - beta1)
    torch._foreach_mul_(theta, 1 - rate * group["weight_decay"])
    torch._foreach_mul_(after_m, beta1)
    torch._foreach_mul_(after_v, beta2)


def _moment(name: str, state: Mapping[str, Tensor], like: Tensor) -> Tensor:
    """0 before the first step."""
    return state[name] if name in state else like.new_zeros(()).expand_as(like)


def back_over_sgd(
    after: Sequence[Adjoint], states: Sequence[Mapping[str, Tensor]], g: list[Tensor], group: Mapping[str, Any]
) -> None:
    """The same for SGD: (θ', b') to (θ, b), and g to u. The update is linear, so neither states nor g matter.

    >>> after, u = Adjoint(torch.ones(1), {"momentum_buffer": torch.zeros(1)}), torch.zeros(1)
    >>> back_over_sgd([after], [{}], [u], {"lr": 0.5, "weight_decay": 0.25, "momentum": 0.5})
    >>> u, after
    (tensor([-0.5000]), Adjoint(theta=tensor([0.8750]), moments={'momentum_buffer': tensor([-0.2500])}))
    """
    theta = [x.theta for x in after]
    torch._foreach_copy_(g, torch._foreach_mul(theta, -group["lr"]))
    if group["momentum"]:
        buffers = [x.moments[name] for x in after for name in SGD]
        torch._foreach_add_(g, buffers)
        torch._foreach_copy_(buffers, torch._foreach_mul(g, group["momentum"]))
    torch._foreach_add_(theta, g, alpha=group["weight_decay"])


def lists_of(tensors: Sequence[Tensor], largest: int = LARGEST) -> Iterator[list[int]]:
    """Numbers of neighbours whose elements are so many at most, or of one alone.

    >>> list(lists_of([torch.zeros(3), torch.zeros(2), torch.zeros(9), torch.zeros(1)], largest=5))
    [[0, 1], [2], [3]]
    """
    rows: list[int] = []
    for number, tensor in enumerate(tensors):
        if rows and sum(tensors[row].numel() for row in rows) + tensor.numel() > largest:
            yield rows
            rows = []
        rows.append(number)
    if rows:
        yield rows


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
    for rows in lists_of([a for a, _ in pairs]):
        both = [pairs[row] for row in rows]
        directions = [a for a, _ in both]
        torch._foreach_sub_(directions, torch._foreach_mul([g for _, g in both], along))
        torch._foreach_mul_(directions, scale)
