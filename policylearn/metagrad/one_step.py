"""Engine `one_step`: for windows of one step, one outer gradient serves many MLM batches.

To first order a step on Σ_i w_i CE_i / M moves θ by -P ∇CE_i / M per unit of w_i, where P is AdamW's diagonal
preconditioner, so

    ∂(outer loss)/∂w_i  =  - d · ∇CE_i / M,      d = P ∇(outer loss).

All d · ∇CE_i of a batch are one forward-mode derivative of its token losses along d: no backward pass, no
graph, and the expensive outer gradient is taken once. (Of any loss in any input x: that of ∂ℓ/∂x.) P is taken
from the moments of the trajectory as they are, before the batch's own gradient enters them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp

from policylearn.inner.model import Features
from policylearn.inner.window import TOKEN_WEIGHTS, Loss, Window
from policylearn.masking import MaskedBatch


def one_step(
    model: nn.Module,
    optimizer: torch.optim.AdamW,
    window: Window,
    outer: Callable[[Features], Tensor],
    parameters: str = "matrices",
) -> list[Tensor]:
    """∂(outer loss)/∂x of every batch, each as if it alone were the next step; nothing is advanced.

    Args:
        model: an `InnerModel` with forward-mode derivatives (attn_implementation "eager").
        optimizer: warm AdamW over its parameters.
        window: batches, and the learning rate at which each would be taken.
        outer: outer loss as a function of ``features(input_ids, real)``.
        parameters: "matrices" leaves norms and biases out of the direction, "all" does not.

    Returns:
        one tensor of the shape of x per batch.
    """
    direction = outer_direction(model, optimizer, 1.0, outer, parameters)
    steps = zip(window.batches, window.rates, strict=True)
    return [-rate * input_derivatives(model, direction, window.loss, batch) for batch, rate in steps]


def outer_direction(
    model: nn.Module,
    optimizer: torch.optim.AdamW,
    rate: float,
    outer: Callable[[Features], Tensor],
    parameters: str = "matrices",
) -> dict[str, Tensor]:
    """d = P ∇(outer loss) by parameter name, with P = rate (1 - β₁) / (1 - β₁ᵗ) / (√v̂ + ε)."""
    named = {n: p for n, p in model.named_parameters() if p.ndim > 1 or parameters == "all"}
    gradients = torch.autograd.grad(outer(model), list(named.values()), allow_unused=True)
    settings = {p: group for group in optimizer.param_groups for p in group["params"]}
    direction = {}
    for (name, p), gradient in zip(named.items(), gradients, strict=True):
        if gradient is not None and p in optimizer.state:
            direction[name] = _preconditioned(gradient, optimizer.state[p], settings[p], rate)
    assert direction, "the optimiser has no moments yet: take an ordinary step first"
    return direction


def input_derivatives(model: nn.Module, direction: dict[str, Tensor], loss: Loss, batch: Any) -> Tensor:
    """d · ∇_θ (∂ℓ/∂x), of the shape of x, by one forward-mode pass; for token weights the M numbers d · ∇CE_i / M."""
    point = {name: p.detach() for name, p in model.named_parameters() if name in direction}
    x = loss.inputs(batch, next(model.parameters()))

    def slope(moved: dict[str, Tensor]) -> Tensor:
        def there(*inputs: Any, **settings: Any) -> Tensor:
            return functional_call(model, moved, inputs, settings)

        return grad(lambda at: loss(there, batch, at))(x)

    with torch.no_grad():
        return jvp(slope, (point,), (direction,))[1]


def token_derivatives(model: nn.Module, direction: dict[str, Tensor], batch: MaskedBatch) -> Tensor:
    """d · ∇CE_i for the M masked tokens of a batch, [M], by one forward-mode pass."""
    return input_derivatives(model, direction, TOKEN_WEIGHTS, batch) * batch.mask.sum()


def _preconditioned(gradient: Tensor, state: dict, group: dict, rate: float) -> Tensor:
    beta1, beta2 = group["betas"]
    step = float(state["step"]) + 1
    root = (beta2 * state["exp_avg_sq"] / (1 - beta2**step)).sqrt()
    return rate * (1 - beta1) / (1 - beta1**step) * gradient / (root + group["eps"])
