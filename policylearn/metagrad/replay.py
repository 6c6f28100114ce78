"""Engine `replay`: exact, and no graph outlives its step. The walk of `walk`, by one double backward per step."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp

from policylearn.inner.window import Window, weighed
from policylearn.metagrad.engines import Outer
from policylearn.metagrad.updates import Gradients
from policylearn.metagrad.walk import Walk, added
from policylearn.models.device import twice_differentiable


def replay(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    window: Window,
    outer: Outer,
    parameters: str = "matrices",
    *,
    leaf: int = 8,
    slots: int = 7,
    store: torch.device | None = None,
) -> list[Tensor]:
    """∂(outer loss)/∂x for the K steps of a window, exactly; advances model and optimiser by these steps.

    The steps are the optimiser's own: model and optimiser end as K ordinary ones leave them, to the bit. Beside the
    work of one step, memory holds `leaf` gradients, up to `slots` + 2 states (parameters and moments) and an adjoint
    of its size. By default up to 8 steps are computed once on the way, up to 64 at most twice, up to 288 three times.

    Args:
        model: an `InnerModel` whose attention has double backward and forward mode (attn_implementation "eager").
        optimizer: AdamW or SGD over its parameters, fresh or warm.
        window: K steps; with seeds, if the model has dropout.
        outer: outer loss under the parameters after step K.
        parameters: those that the outer gradient may flow through, see `models.parameters.carriers`.
        leaf, slots, store: see `Walk`.

    Returns:
        K tensors of the shapes of x_k.

    Raises:
        ValueError: the model has dropout, and there are no seeds; or the optimiser is not known; or the loss has no x.
    """
    return Replay(model, optimizer, window, outer, parameters, leaf, slots, store).run()


class Replay(Walk):
    """Differentiates one step by a double backward through its loss, or in forward mode where x is all that counts."""

    def back_over_gradient(self, k: int, directions: Gradients, further: bool) -> Tensor:
        if not further:
            named = {name: u for name, u in zip(self.names, directions, strict=True) if u is not None}
            return input_derivatives(self.model, named, self.window, k)
        # A backward pass through forward mode would be a little cheaper, but torch's layer norm gets that one wrong.
        x = self.inputs(k).requires_grad_()
        with twice_differentiable():
            losses = self.window.losses(self.model, k, x)
            credit, *products = added(self._along(loss, directions, [x, *self.parameters]) for loss in losses)
        self.add_to_adjoints(products)
        return weighed(credit)

    def _along(self, loss: Tensor, directions: Gradients, inputs: Sequence[Tensor]) -> Gradients:
        """∂(∇ℓ · u) in the inputs."""
        gradients = torch.autograd.grad(loss, self.parameters, create_graph=True, allow_unused=True)
        seen = [(g, u) for g, u in zip(gradients, directions, strict=True) if g is not None]
        outputs, along = zip(*seen, strict=True)
        return torch.autograd.grad(outputs, inputs, along, allow_unused=True)


def input_derivatives(model: nn.Module, direction: dict[str, Tensor], window: Window, k: int) -> Tensor:
    """d · ∇_θ (∂ℓ/∂x), of the shape of x, by one forward-mode pass; for token weights the M numbers d · ∇CE_i / M.

    Args:
        model: an `InnerModel`.
        direction: d by parameter name; zero for a name left out.
        window, k: ℓ is the loss of its step k.

    Raises:
        ValueError: operations of the model have no forward mode.
    """
    if said := getattr(model, "no_forward_mode", ""):
        raise ValueError(said)
    point = {name: p.detach() for name, p in model.named_parameters() if name in direction}
    x = window.loss.inputs(window.batches[k], next(model.parameters()))

    def slope(moved: dict[str, Tensor]) -> Tensor:
        def there(*inputs: Any, **settings: Any) -> Tensor:
            return functional_call(model, moved, inputs, settings)

        return grad(lambda at: torch.stack(list(window.losses(there, k, at))).sum())(x)

    with torch.no_grad(), twice_differentiable():
        return jvp(slope, (point,), (direction,))[1]
