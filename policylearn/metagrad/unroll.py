"""Engine `unroll`: the reference. Keep the graph of every inner step and let autograd walk it (`higher`)."""

from collections.abc import Callable
from typing import Any

import higher
import torch
from torch import Tensor, nn

from policylearn.inner.model import Features
from policylearn.inner.window import Window


class DifferentiableAdamW(higher.optim.DifferentiableOptimizer):
    """`torch.optim.AdamW` written so that gradients flow through its update (`higher` has none).

    A second moment of exactly zero belongs to a parameter that never had a gradient; it is clamped to the
    smallest normal number, where the square root still has a finite slope.
    """

    def _update(self, grouped_grads: Any, **kwargs: Any) -> None:
        tiny = torch.finfo(torch.float32).tiny
        for group, states, grads in zip(self.param_groups, self.state, grouped_grads, strict=True):
            beta1, beta2 = group["betas"]
            for i, (p, g) in enumerate(zip(group["params"], grads, strict=True)):
                if g is None:
                    continue
                state = states[i] or {
                    "step": 0,
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": torch.zeros_like(p),
                }
                step = float(state["step"]) + 1
                m = beta1 * state["exp_avg"] + (1 - beta1) * g
                v = beta2 * state["exp_avg_sq"] + (1 - beta2) * g * g
                root = (v.clamp(min=tiny) / (1 - beta2**step)).sqrt()
                decayed = p * (1 - group["lr"] * group["weight_decay"])
                group["params"][i] = decayed - group["lr"] / (1 - beta1**step) * m / (root + group["eps"])
                states[i] = {"step": torch.tensor(step), "exp_avg": m, "exp_avg_sq": v}


higher.register_optim(torch.optim.AdamW, DifferentiableAdamW)


def unroll(
    model: nn.Module,
    optimizer: torch.optim.AdamW,
    window: Window,
    outer: Callable[[Features], Tensor],
    parameters: str = "matrices",
) -> list[Tensor]:
    """∂(outer loss)/∂x for the K steps of a window, exactly; advances model and optimiser by these steps.

    Args:
        model: an `InnerModel` whose attention has a double backward (attn_implementation "eager").
        optimizer: AdamW over its parameters, fresh or warm.
        window: K steps.
        outer: outer loss as a function of ``features(input_ids, real)`` under the parameters after step K.
        parameters: "matrices" stops the outer gradient at norms and biases, "all" does not.

    Returns:
        K tensors of the shapes of x_k.
    """
    like = next(model.parameters())
    inputs = [window.loss.inputs(batch, like).requires_grad_() for batch in window.batches]
    with higher.innerloop_ctx(model, optimizer) as (functional, inner_optimizer):
        for batch, rate, x in zip(window.batches, window.rates, inputs, strict=True):
            for group in inner_optimizer.param_groups:
                group["lr"] = rate
            inner_optimizer.step(window.loss(functional, batch, x))
        final = list(functional.parameters())
        through = [p if p.ndim > 1 or parameters == "all" else p.detach() for p in final]
        loss = outer(lambda ids, real: functional(ids, real, params=through))
        gradients = torch.autograd.grad(loss, inputs)
        _write_back(model, optimizer, final, inner_optimizer)
    return list(gradients)


def _write_back(model: nn.Module, optimizer: torch.optim.AdamW, final: list[Tensor], inner_optimizer: Any) -> None:
    """Copy the parameters and moments reached inside the window into the ordinary model and optimiser."""
    with torch.no_grad():
        for p, value in zip(model.parameters(), final, strict=True):
            p.copy_(value)
    for group, states in zip(optimizer.param_groups, inner_optimizer.state, strict=True):
        for i, p in enumerate(group["params"]):
            if state := states[i]:
                optimizer.state[p] = {name: value.detach().clone() for name, value in state.items()}
