"""Engine `unroll`: the reference. Keep the graph of every inner step and let autograd walk it (`higher`)."""

from collections.abc import Sequence
from typing import Any

import higher
import torch
from torch import Tensor, nn

from policylearn.adapt.finetune import Classifier, FineTuning
from policylearn.inner.window import Window, weighed
from policylearn.metagrad.engines import Outer
from policylearn.metagrad.updates import Gradients, clip_factor
from policylearn.models.model import Elsewhere
from policylearn.models.parameters import carriers


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
    optimizer: torch.optim.Optimizer,
    window: Window,
    outer: Outer,
    parameters: str = "matrices",
) -> list[Tensor]:
    """∂(outer loss)/∂x for the K steps of a window, exactly; advances model and optimiser by these steps.

    Args:
        model: an `InnerModel` whose attention has a double backward (attn_implementation "eager").
        optimizer: AdamW or SGD over its parameters, fresh or warm.
        window: K steps.
        outer: outer loss under the parameters after step K.
        parameters: those that the outer gradient may flow through, see `models.parameters.carriers`.

    Returns:
        K tensors of the shapes of x_k.
    """
    like = next(model.parameters())
    inputs = [window.loss.inputs(batch, like).requires_grad_() for batch in window.batches]
    with higher.innerloop_ctx(model, optimizer) as (functional, inner_optimizer):
        _take_steps(functional, inner_optimizer, window, inputs)
        final = list(functional.parameters())
        names, open_ = [name for name, _ in model.named_parameters()], carriers(model, parameters)
        through = [p if name in open_ else p.detach().requires_grad_() for name, p in zip(names, final, strict=True)]
        gradients = torch.autograd.grad(_outer_loss(model, through, outer), inputs, allow_unused=True)
        _write_back(model, optimizer, final, inner_optimizer)
    window.set_rate(optimizer, len(window) - 1)
    return [weighed(gradient) for gradient in gradients]


def _take_steps(functional: Any, optimizer: Any, window: Window, inputs: Sequence[Tensor]) -> None:
    for k, x in enumerate(inputs):
        window.set_rate(optimizer, k)
        loss = torch.stack(list(window.losses(functional, k, x))).sum()
        optimizer.step(loss, grad_callback=lambda gradients: _clipped(gradients, window.clip))


def _clipped(gradients: Gradients, clip: float | None) -> Gradients:
    if clip is None:
        return gradients
    norm = torch.stack([g.norm() for g in gradients if g is not None]).norm()  # torch's own has no gradient
    return [g if g is None else g * clip_factor(norm, clip) for g in gradients]


def _outer_loss(model: nn.Module, through: list[Tensor], outer: Outer) -> Tensor:
    """Under the parameters `through`, one graph with them, fine-tuning included."""
    names = (name for name, _ in model.named_parameters())
    features = Elsewhere(model, dict(zip(names, through, strict=True)))
    if not isinstance(outer, FineTuning):
        return outer(features)
    start = outer.start(model)
    order = {p: value for p, value in zip(model.parameters(), through, strict=True)}
    if outer.head is not None:
        assert isinstance(start, Classifier)
        order |= dict(zip((start.weight, start.bias), outer.head(features), strict=True))
    with higher.innerloop_ctx(start, outer.optimizer(start)) as (tuned, optimizer):
        # Views, because head and encoder hang together: each is to be stepped by its own partial derivative.
        tuned.update_params([order[p].view_as(p) for p in start.parameters()])
        weights = [outer.window.loss.inputs(batch, through[0]) for batch in outer.window.batches]
        _take_steps(tuned, optimizer, outer.window, weights)
        return outer.query(tuned)


def _write_back(model: nn.Module, optimizer: torch.optim.Optimizer, final: list[Tensor], inner_optimizer: Any) -> None:
    """Copy the parameters and moments reached inside the window into the ordinary model and optimiser."""
    with torch.no_grad():
        for p, value in zip(model.parameters(), final, strict=True):
            p.copy_(value)
    for group, states in zip(optimizer.param_groups, inner_optimizer.state, strict=True):
        for i, p in enumerate(group["params"]):
            if state := states[i]:
                optimizer.state[p] = {name: value.detach().clone() for name, value in state.items()}
