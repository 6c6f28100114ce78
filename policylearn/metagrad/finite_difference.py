"""Engine `finite_difference`: the walk of `walk`, by differences of ordinary gradients instead of second derivatives.

With u = ∂L/∂g_k and first-order gradients at two points along it,

    ∂(g · u)/∂θ  ≈  (∇ℓ(θ + h u) - ∇ℓ(θ - h u)) / 2h        (the Hessian is symmetric)

and the same difference of ∂ℓ/∂x gives ∂(g · u)/∂x: two ordinary forward-backward passes per step, and for the first
step of a window and token weights no backward pass at all. So this runs on any attention kernel, under bf16 autocast
and on compiled models.

The step h balances two errors, rounding of gradients over h and third derivatives times h², and its best length grows
with η^⅓, η the precision of the gradients (Nocedal & Wright, 2006, §8.1). In which unit? Lengths in θ do not compare:
AdamW blows u up just where the loss hardly sees it. Here token losses (any ∂ℓ/∂x, times the number of inputs) are to
move by ¼ η^⅓ nats, root mean square; forward passes tell how far they do. Over a trained and two random BERTs, AdamW
and SGD, moves of equal error differ eightfold in this unit, and 160-fold as a share of ‖θ‖.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from policylearn.inner.window import Window, weighed
from policylearn.metagrad.engines import Outer
from policylearn.metagrad.updates import Gradients
from policylearn.metagrad.walk import Walk

FAR, ROUNDS = 4.0, 8
"""Off by more than this factor, h is searched for, in so many rounds at most."""
Note = Callable[..., None]
"""Is told numbers by name."""


def finite_difference(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    window: Window,
    outer: Outer,
    parameters: str = "matrices",
    *,
    nats: float | None = None,
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
        parameters: those that the outer gradient may flow through, see `models.parameters.carriers`.
        nats: how far token losses are moved; None: by the precision of the model.
        note: is told `difference_error`, how much the derivatives of the last step change, relatively, when taken
            over twice the distance: an estimate of their error, for two more forward passes (token weights).
        leaf, slots, store: see `Walk`.

    Returns:
        K tensors of the shapes of x_k.

    Raises:
        ValueError: the model has dropout, and there are no seeds; or the optimiser is not known.
    """
    nats = best_move(model) if nats is None else nats
    walk = Differences(model, optimizer, window, outer, parameters, leaf, slots, store, nats=nats, note=note)
    return walk.run()


def best_move(model: nn.Module) -> float:
    """¼ η^⅓ for the precision η that the model computes in, bf16 autocast included.

    >>> round(best_move(nn.Linear(2, 2)), 4)
    0.0012
    """
    half = any(getattr(part, "bf16", False) for part in model.modules())
    dtype = torch.bfloat16 if half else next(model.parameters()).dtype
    return 0.25 * torch.finfo(dtype).eps ** (1 / 3)


@dataclass
class Differences(Walk):
    """Differentiates one step by central differences of its gradients, such that token losses move by `nats`."""

    nats: float = 0.0
    note: Note | None = None
    reach: float | None = None
    """‖h u‖ that was right for the step last walked over: a good guess for the next."""

    def back_over_update(self, k: int, gradients: Gradients) -> Gradients:
        """As for every engine; but no move along what this step does not see, where AdamW's u is beyond all bounds."""
        directions = super().back_over_update(k, gradients)
        for u, g in zip(directions, gradients, strict=True):
            if u is not None and g is not None:
                u.masked_fill_(g == 0, 0.0)
        return directions

    def back_over_gradient(self, k: int, directions: Gradients, further: bool) -> Tensor:
        size = get_total_norm([u for u in directions if u is not None]).item()
        if size == 0.0:
            return torch.zeros_like(self.inputs(k))
        if self.reach is None:
            self.reach = self._search(k, directions, size)
        h = self.reach / size
        found, gradients = self._difference(k, directions, h, further)
        if not 1 / FAR < (factor := self._factor(found, h)) < FAR:
            h = self._search(k, directions, size) / size
            found, gradients = self._difference(k, directions, h, further)
            factor = self._factor(found, h)
        self.reach = h * size * factor
        self.add_to_adjoints(gradients)
        if self.note is not None and k == len(self.window) - 1:
            wider, _ = self._difference(k, directions, 2 * h, further=False)
            self.note(difference_error=((wider - found).norm() / found.norm()).item())
        return found

    def _search(self, k: int, directions: Gradients, size: float) -> float:
        """‖h u‖ that moves token losses as far as they should, by forward passes."""
        reach = 1e-3 * get_total_norm([p.detach() for p in self.parameters]).item()
        for _ in range(ROUNDS):
            found, _ = self._difference(k, directions, reach / size, further=False)
            factor = self._factor(found, reach / size)
            reach *= factor
            if 0.5 < factor < 2:
                break
        return reach

    def _factor(self, found: Tensor, h: float) -> float:
        """What h has to be multiplied with, to move by `nats`; at most 1,000-fold."""
        moved = h * found.numel() * found.square().mean().sqrt().item()
        return min(1e3, self.nats / moved) if moved > 0 else 1e3

    def _difference(self, k: int, directions: Gradients, h: float, further: bool) -> tuple[Tensor, Gradients]:
        """(∂(g · u)/∂x, ∂(g · u)/∂θ) of step k; the second empty unless `further`."""
        (ahead, gradients), (behind, others) = (self._slopes(k, directions, by, further) for by in (h, -h))
        pairs = [(g, o) for g, o in zip(gradients, others, strict=True) if g is not None and o is not None]
        if pairs:
            differences = [g for g, _ in pairs]
            torch._foreach_sub_(differences, [o for _, o in pairs])
            torch._foreach_div_(differences, 2 * h)
        return (ahead - behind) / (2 * h), gradients

    def _slopes(self, k: int, directions: Gradients, by: float, further: bool) -> tuple[Tensor, Gradients]:
        """(∂ℓ/∂x, ∇ℓ) at θ + by · u; the second empty unless `further`."""
        x = self.inputs(k).requires_grad_()
        with self._moved(directions, by), nullcontext() if further else self._frozen():
            wanted = [x, *self.parameters] if further else [x]
            slope, *gradients = self.derivatives(k, x, wanted)
        return weighed(slope), gradients

    @contextmanager
    def _moved(self, directions: Gradients, by: float) -> Iterator[None]:
        """Within, the parameters are θ + by · u."""
        pairs = [(p, u) for p, u in zip(self.values, directions, strict=True) if u is not None]
        moved, along = [p for p, _ in pairs], [u for _, u in pairs]
        torch._foreach_add_(moved, along, alpha=by)
        yield
        torch._foreach_sub_(moved, along, alpha=by)

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        """Within, no graph is built for the parameters."""
        for p in self.parameters:
            p.requires_grad_(False)
        yield
        for p in self.parameters:
            p.requires_grad_(True)
