"""Engine `finite_difference`: the walk of `walk`, by differences of ordinary gradients instead of second derivatives.

With u = ∂L/∂g_k and first-order gradients at two points along it,

    ∂(g · u)/∂θ  ≈  (∇ℓ(θ + h u) - ∇ℓ(θ - h u)) / 2h        (the Hessian is symmetric)

and the same difference of ∂ℓ/∂x gives ∂(g · u)/∂x: two ordinary forward-backward passes per step, and for the first
step of a window and token weights no backward pass at all. So this runs on any attention kernel, under bf16 autocast
and on compiled models.

The step h balances two errors: rounding of gradients over h, and third derivatives times h². Its best length grows with
η^⅓, η the precision of the gradients (Nocedal & Wright, 2006, §8.1), in units in which models are alike:

    h² Σ_t ‖u_t‖² / mean(θ_t²)  =  (20 η^⅓)²,        t over parameter tensors

Measured over models, optimisers and single precision and bf16, errors so are within twice the best h's; with ‖θ‖ / ‖u‖
for a unit, the best h differs a hundredfold between a small random BERT and a trained one, or AdamW and SGD.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policylearn.inner.window import Window
from policylearn.metagrad.engines import Outer
from policylearn.metagrad.updates import Gradients
from policylearn.metagrad.walk import Walk

SMALLEST = 1e-3
"""Root mean square of a parameter tensor from which on it sets the unit: biases may be all zeros."""
Note = Callable[..., None]
"""Is told numbers by name."""


def finite_difference(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    window: Window,
    outer: Outer,
    parameters: str = "matrices",
    *,
    step: float | None = None,
    note: Note | None = None,
    leaf: int = 8,
    slots: int = 7,
    store: torch.device | None = None,
) -> list[Tensor]:
    """∂(outer loss)/∂x for the K steps of a window, nearly; advances model and optimiser by these steps.

    Args:
        model: an `InnerModel`.
        optimizer: AdamW or SGD over its parameters, fresh or warm.
        window: K steps; with seeds, if the model has dropout.
        outer: outer loss under the parameters after step K.
        parameters: "matrices" stops the outer gradient at norms and biases, "all" does not.
        step: length of h u in the units above; None: by the precision of the model.
        note: is told `difference_error`, how much the derivatives of the last step change, relatively, when taken
            over twice the distance: an estimate of their error, for two more forward passes (token weights).
        leaf, slots, store: see `Walk`.

    Returns:
        K tensors of the shapes of x_k.

    Raises:
        ValueError: the model has dropout, and there are no seeds; or the optimiser is not known.
    """
    step = step_length(model) if step is None else step
    walk = Differences(model, optimizer, window, outer, parameters, leaf, slots, store, length=step, note=note)
    return walk.run()


def step_length(model: nn.Module) -> float:
    """20 η^⅓ for the precision η that the model computes in, bf16 autocast included.

    >>> round(step_length(nn.Linear(2, 2)), 3)
    0.098
    """
    half = any(getattr(part, "bf16", False) for part in model.modules())
    dtype = torch.bfloat16 if half else next(model.parameters()).dtype
    return 20 * torch.finfo(dtype).eps ** (1 / 3)


@dataclass
class Differences(Walk):
    """Differentiates one step by central differences of its gradients, over a distance of `length`."""

    length: float = 0.0
    note: Note | None = None

    def back_over_update(self, k: int, gradients: Gradients) -> Gradients:
        """As for every engine; but no move along what this step does not see, where AdamW's u is beyond all bounds."""
        directions = super().back_over_update(k, gradients)
        for u, g in zip(directions, gradients, strict=True):
            if u is not None and g is not None:
                u.masked_fill_(g == 0, 0.0)
        return directions

    def back_over_gradient(self, k: int, directions: Gradients, further: bool) -> Tensor:
        h = self._distance(directions)
        ahead, gradients_ahead = self._slopes(k, directions, h, further)
        behind, gradients_behind = self._slopes(k, directions, -h, further)
        found = (ahead - behind) / (2 * h)
        for gradients, sign in ((gradients_ahead, 1), (gradients_behind, -1)):
            for adjoint, g in zip(self.adjoints, gradients, strict=False):
                if g is not None:
                    adjoint.theta.add_(g, alpha=sign / (2 * h))
        if self.note is not None and k == len(self.window) - 1:
            self.note(difference_error=self._change(k, directions, h, found))
        return found

    def _distance(self, directions: Gradients) -> float:
        """h."""
        seen = [(p.detach(), u) for p, u in zip(self.parameters, directions, strict=True) if u is not None]
        squares = [u.square().sum() / p.square().mean().clamp(min=SMALLEST**2) for p, u in seen]
        norm = torch.stack(squares).sum().sqrt().item()
        return self.length / norm if norm > 0 else 1.0

    def _slopes(self, k: int, directions: Gradients, by: float, further: bool) -> tuple[Tensor, Gradients]:
        """(∂ℓ/∂x, ∇ℓ) at θ + by · u; the second empty unless `further`."""
        x = self.inputs(k).requires_grad_()
        with self._moved(directions, by), nullcontext() if further else self._frozen():
            wanted = [x, *self.parameters] if further else [x]
            slope, *gradients = torch.autograd.grad(self.loss(k, x), wanted, allow_unused=True)
        return slope, gradients

    def _change(self, k: int, directions: Gradients, h: float, found: Tensor) -> float:
        """How far the derivatives in x are from what they are over twice the distance, relatively."""
        ahead, behind = (self._slopes(k, directions, by, further=False)[0] for by in (2 * h, -2 * h))
        wider = (ahead - behind) / (4 * h)
        return ((wider - found).norm() / found.norm()).item()

    @contextmanager
    def _moved(self, directions: Gradients, by: float) -> Iterator[None]:
        """Within, the parameters are θ + by · u."""
        pairs = [(p.detach(), u) for p, u in zip(self.parameters, directions, strict=True) if u is not None]
        for p, u in pairs:
            p.add_(u, alpha=by)
        yield
        for p, u in pairs:
            p.sub_(u, alpha=by)

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        """Within, no graph is built for the parameters."""
        for p in self.parameters:
            p.requires_grad_(False)
        yield
        for p in self.parameters:
            p.requires_grad_(True)
