"""Engine `one_step`: for windows of one step, one outer gradient serves many MLM batches.

To first order a step on Σ_i w_i CE_i / M moves θ by -P ∇CE_i / M per unit of w_i, where P is AdamW's diagonal
preconditioner, so

    ∂(outer loss)/∂w_i  =  - d · ∇CE_i / M,      d = P ∇(outer loss).

All d · ∇CE_i of a batch are one forward-mode derivative of its token losses along d: no backward pass, no
graph, and the expensive outer gradient is taken once. (Of any loss in any input x: that of ∂ℓ/∂x.) P is taken
from the moments of the trajectory as they are, before the batch's own gradient enters them, which also means that
clipping is left out. For SGD P is the learning rate.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from policylearn.inner.masked_lm import MaskedLM
from policylearn.inner.window import Loss, Window
from policylearn.masking import MaskedBatch
from policylearn.metagrad.engines import Outer
from policylearn.metagrad.replay import Replay, input_derivatives
from policylearn.models.parameters import carriers


def one_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    window: Window,
    outer: Outer,
    parameters: str = "matrices",
) -> list[Tensor]:
    """∂(outer loss)/∂x of every batch, each as if it alone were the next step; nothing is advanced.

    Args:
        model: an `InnerModel` with forward-mode derivatives (attn_implementation "eager").
        optimizer: SGD, or warm AdamW, over its parameters.
        window: batches, and the learning rate at which each would be taken.
        outer: outer loss.
        parameters: through which the outer gradient may flow, see `models.parameters.carriers`.

    Returns:
        one tensor of the shape of x per batch.
    """
    direction = outer_direction(model, optimizer, 1.0, outer, parameters)
    return [-rate * input_derivatives(model, direction, window, k) for k, rate in enumerate(window.rates)]


def outer_direction(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rate: float,
    outer: Outer,
    parameters: str = "matrices",
) -> dict[str, Tensor]:
    """d = P ∇(outer loss) by parameter name; P = rate (1 - β₁) / (1 - β₁ᵗ) / (√v̂ + ε) for AdamW, rate for SGD."""
    walk = Replay(model, optimizer, Window((), (), MaskedLM()), outer)
    direction, open_ = {}, carriers(model, parameters)
    for name, p, gradient in zip(walk.names, walk.parameters, walk.outer_slopes(), strict=True):
        state, known = optimizer.state.get(p, {}), isinstance(optimizer, torch.optim.SGD) or p in optimizer.state
        if gradient is not None and known and name in open_:
            direction[name] = _preconditioned(gradient, state, walk.groups[p]) * rate
    assert direction, "the optimiser has no moments yet: take an ordinary step first"
    return direction


def token_derivatives(model: nn.Module, direction: dict[str, Tensor], batch: MaskedBatch, loss: Loss) -> Tensor:
    """d · ∇(∂ℓ/∂x_i) for the M masked tokens of a batch, [M], by one forward-mode pass; d · ∇CE_i / M for MLM."""
    return input_derivatives(model, direction, Window([batch], [1.0], loss), 0)


def _preconditioned(gradient: Tensor, state: Mapping[str, Tensor], group: Mapping[str, Any]) -> Tensor:
    if "betas" not in group:
        return gradient
    beta1, beta2 = group["betas"]
    step = float(state["step"]) + 1
    root = (beta2 * state["exp_avg_sq"] / (1 - beta2**step)).sqrt()
    return (1 - beta1) / (1 - beta1**step) * gradient / (root + group["eps"])
