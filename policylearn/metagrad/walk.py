"""The walk of `replay` and `finite_difference`: ordinary optimiser steps, then back over them one at a time.

Let a_k be the adjoint of the state before step k, the derivatives of the outer loss L in θ_k and the optimiser's
moments. Its part of a_{k+1} → a_k, and with it u = ∂L/∂g_k, is a closed formula (`updates`). The gradient
g_k = ∇ℓ(θ_k, x_k) then gives

    ∂L/∂x_k  =  ∂(g_k · u)/∂x_k,        ∂L/∂θ_k  +=  ∂(g_k · u)/∂θ_k   (a Hessian-vector product)

which is where engines differ. For token weights the first is u · ∇CE_i / M. The first step of a window needs no
Hessian: nobody asks for ∂L/∂θ_0.

Walking back needs every state again. A window is cut into leaves of a few steps. Within a leaf only gradients are kept,
a third of a state each, from which the optimiser finds its states again; leaves begin at a saved state, or are reached
by recomputing from an earlier one, binomially (Griewank & Walther, 2000), so that memory hardly grows with K.

Where the outer loss comes after fine-tuning, its steps are another window: walking back over that one gives ∂L/∂θ_K.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from torch import Tensor, nn

from policylearn.adapt.finetune import FineTuning
from policylearn.inner.window import Window
from policylearn.metagrad.engines import Outer
from policylearn.metagrad.updates import Adjoint, Gradients, back_over_clipping, clipping, lists_of, update_of
from policylearn.models.parameters import carriers


@cache
def split(leaves: int, slots: int) -> tuple[float, int]:
    """How to walk back over leaves at the least cost: (leaves computed once more than the leaf itself needs, l).

    Compute the first l leaves, save the state reached, walk back over the others with one slot less, then start
    over for the first l with all slots. The costs add up to l + cost(leaves - l, slots - 1) + cost(l, slots).

    >>> split(1, 0), split(2, 7), split(8, 7), split(9, 7)
    ((0, 0), (1, 1), (7, 1), (9, 1))
    """
    if leaves <= 1:
        return 0, 0
    if slots == 0:
        return float("inf"), 1
    return min((left + split(leaves - left, slots - 1)[0] + split(left, slots)[0], left) for left in range(1, leaves))


def added(parts: Iterable[Gradients]) -> list[Tensor | None]:
    """Their sum, None counting as zero; the first is written into.

    >>> added([(torch.ones(1), None), (torch.ones(1), None)])
    [tensor([2.]), None]
    """
    first, *others = ([*part] for part in parts)
    for other in others:
        first = [b if a is None else a if b is None else a.add_(b) for a, b in zip(first, other, strict=True)]
    return first


def scaled(gradients: Gradients, factor: Tensor | None) -> list[Tensor | None]:
    """Copies, times a factor if there is one.

    >>> scaled([torch.ones(1), None], torch.tensor(2.0))
    [tensor([2.]), None]
    """
    copies = iter(torch._foreach_mul([g for g in gradients if g is not None], 1.0 if factor is None else factor))
    return [g if g is None else next(copies) for g in gradients]


@dataclass(frozen=True)
class Snapshot:
    """Parameters and what the optimiser remembers of each ({} before its first step)."""

    parameters: list[Tensor]
    moments: list[dict[str, Tensor]]


UNTOUCHED = torch.tensor(0.0)
"""Steps of a parameter that the optimiser has not moved."""


@dataclass
class Walk(ABC):
    """K steps of one model and optimiser, which hold the state of the moment; `walk_back` moves both about.

    Args:
        model: an `InnerModel`, or a `Classifier` on one.
        optimizer: AdamW or SGD over its parameters, fresh or warm.
        window: K steps; with seeds, if the model has dropout.
        outer: the outer loss under the parameters after step K.
        through: parameters that its gradient may flow through, see `models.parameters.carriers`.
        leaf: steps whose gradients are kept at once.
        slots: states kept beside those at the start and the end of the window, at least 1.
        store: device to keep states on, such as the CPU when the model is on a GPU; None for the model's own.
        whole: whether the derivatives in θ_0 are wanted.
        visit: is told (k, u by parameter name) before step k is gone back over; u is not to be kept.

    Raises:
        ValueError: the model has dropout, and there are no seeds; or the optimiser is not known.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    window: Window
    outer: Outer
    through: str = "matrices"
    leaf: int = 8
    slots: int = 7
    store: torch.device | None = None
    whole: bool = False
    visit: Callable[[int, dict[str, Tensor]], None] | None = None
    adjoints: list[Adjoint] = field(default_factory=list)
    credits: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        drops = (isinstance(part, nn.Dropout) and part.training and part.p for part in self.model.modules())
        if self.window.seeds is None and any(drops):
            raise ValueError("the model draws dropout: pass seeds, so that it can be repeated, or call model.eval()")
        assert self.leaf >= 1 and self.slots >= 1
        self.back_over_optimizer, self.remembered = update_of(self.optimizer)
        self.groups = {p: group for group in self.optimizer.param_groups for p in group["params"] if p.requires_grad}
        named = {name: p for name, p in self.model.named_parameters() if p in self.groups}
        self.names, self.parameters = list(named), list(named.values())
        self.values = [p.detach() for p in self.parameters]

    def run(self) -> list[Tensor]:
        """∂L/∂x_k for all k; model and optimiser end as K ordinary steps leave them, to the bit."""
        self.walk_back(0, len(self.window), self.state(), self.slots)
        self.restore(self.end)
        self.window.set_rate(self.optimizer, len(self.window) - 1)
        return self.credits[::-1]

    def walk_back(self, low: int, high: int, start: Snapshot, slots: int) -> None:
        """Take the adjoints from step `high` to `low`, by way of the outer loss if `high` is the end of the window.

        Model and optimiser are in the state `start`, that before step `low`; afterwards in any.
        """
        leaves = -(-(high - low) // self.leaf)
        if leaves <= 1:
            return self._walk_back_leaf(low, high, start)
        # The first leaf is the short one: it is computed most often.
        middle = high - (leaves - split(leaves, slots)[1]) * self.leaf
        for k in range(low, middle):
            self.step(k, self.gradients(k))
        self.walk_back(middle, high, self.state(), slots - 1)
        self.restore(start)
        self.walk_back(low, middle, start, slots)

    def _walk_back_leaf(self, low: int, high: int, start: Snapshot) -> None:
        gradients = []
        for k in range(low, high):
            gradients.append(self.gradients(k))
            self.step(k, gradients[-1])
        if high == len(self.window):
            self.end = self.state()
            self.adjoints = self.outer_adjoints()
        while gradients:
            last = gradients.pop()
            self.restore(start)
            for k, known in enumerate(gradients, low):
                self.step(k, known)
            self.credits.append(self.back_over_step(low + len(gradients), last))

    def back_over_step(self, k: int, gradients: Gradients) -> Tensor:
        """∂L/∂x_k; the adjoints, in place, from after the step to before it."""
        directions = self.back_over_update(k, gradients)
        if self.visit is not None:
            self.visit(k, {name: u for name, u in zip(self.names, directions, strict=True) if u is not None})
        return self.back_over_gradient(k, directions, further=k > 0 or self.whole)

    @abstractmethod
    def back_over_gradient(self, k: int, directions: Gradients, further: bool) -> Tensor:
        """∂(g_k · u)/∂x_k for the directions u; adds the Hessian-vector product to the adjoints if `further`."""

    def back_over_update(self, k: int, gradients: Gradients) -> Gradients:
        """u = ∂L/∂g_k of every parameter that has a gradient."""
        self.window.set_rate(self.optimizer, k)
        clipped = clipping(gradients, self.window.clip)
        directions = scaled(gradients, None if clipped is None else clipped[1])
        for rows in self._alike([i for i, u in enumerate(directions) if u is not None]):
            states = [self.optimizer.state.get(self.parameters[i], {}) for i in rows]
            found = [u for i in rows if (u := directions[i]) is not None]
            group = self.groups[self.parameters[rows[0]]]
            self.back_over_optimizer([self.adjoints[i] for i in rows], states, found, group)
        if clipped is not None:
            back_over_clipping(directions, gradients, *clipped)
        return directions

    def _alike(self, rows: Sequence[int]) -> Iterator[list[int]]:
        """These parameters, by number, in lists that share a group of the optimiser and the number of their steps."""
        alike: dict[tuple[int, float], list[int]] = {}
        counts = [self.optimizer.state.get(self.parameters[i], {}).get("step", UNTOUCHED) for i in rows]
        for i, steps in zip(rows, torch.stack(counts).tolist() if counts else (), strict=True):
            alike.setdefault((id(self.groups[self.parameters[i]]), steps), []).append(i)
        for numbers in alike.values():
            yield from ([numbers[at] for at in part] for part in lists_of([self.parameters[i] for i in numbers]))

    def add_to_adjoints(self, products: Gradients) -> None:
        """Add to the derivatives in θ, those of no parameter being none at all."""
        pairs = [(a.theta, x) for a, x in zip(self.adjoints, products, strict=False) if x is not None]
        if pairs:
            torch._foreach_add_([theta for theta, _ in pairs], [x for _, x in pairs])

    def inputs(self, k: int) -> Tensor:
        """x_k of an ordinary step."""
        return self.window.loss.inputs(self.window.batches[k], self.parameters[0])

    def gradients(self, k: int) -> Gradients:
        """g_k at the present parameters."""
        return self.derivatives(k, self.inputs(k), self.parameters)

    def derivatives(self, k: int, x: Tensor, inputs: Sequence[Tensor]) -> list[Tensor | None]:
        """Those of ℓ of step k, accumulated over the parts of its batch."""
        nothing: Gradients = [None] * len(inputs)  # of a loss that nothing has a say in
        parts = self.window.losses(self.model, k, x)
        return added(
            torch.autograd.grad(loss, inputs, allow_unused=True) if loss.requires_grad else nothing for loss in parts
        )

    def step(self, k: int, gradients: Gradients) -> None:
        """Step k of the optimiser, in place."""
        self.window.set_rate(self.optimizer, k)
        clipped = clipping(gradients, self.window.clip)
        taken = gradients if clipped is None else scaled(gradients, clipped[1])
        for p, g in zip(self.parameters, taken, strict=True):
            p.grad = g
        self.optimizer.step()
        self.optimizer.zero_grad()

    def outer_adjoints(self) -> list[Adjoint]:
        """Derivatives of the outer loss in the present parameters, none in the moments."""
        adjoints, carrying = [], carriers(self.model, self.through)
        for name, p, slope in zip(self.names, self.parameters, self.outer_slopes(), strict=True):
            open_ = slope is not None and name in carrying
            theta = slope.clone() if open_ and slope is not None else torch.zeros_like(p)
            adjoints.append(Adjoint(theta, {name: torch.zeros_like(p) for name in self.remembered}))
        return adjoints

    def outer_slopes(self) -> Gradients:
        """∂L/∂θ at the present parameters, in which the model is left."""
        if isinstance(self.outer, FineTuning):
            return self._slopes_through(self.outer)
        return torch.autograd.grad(self.outer(self.model), self.parameters, allow_unused=True)

    def _slopes_through(self, tuning: FineTuning) -> Gradients:
        tuned = tuning.start(self.model)
        walk = replace(
            self,
            model=tuned,
            optimizer=tuning.optimizer(tuned),
            window=tuning.window,
            outer=tuning.query,
            through="all",
            whole=True,
            visit=None,
            adjoints=[],
            credits=[],
        )
        start = walk.state()
        walk.walk_back(0, len(walk.window), start, walk.slots)
        walk.restore(start)
        at_start = {name: adjoint.theta for name, adjoint in zip(walk.names, walk.adjoints, strict=True)}
        if tuning.head is None:
            return [at_start[name] for name in self.names]
        head = [at_start.pop(name) for name in ("weight", "bias")]
        by_way_of_head = torch.autograd.grad(tuning.head(self.model), self.parameters, head, allow_unused=True)
        slopes = [at_start[f"encoder.{name}"] for name in self.names]
        return [a if b is None else a.add_(b) for a, b in zip(slopes, by_way_of_head, strict=True)]

    def state(self) -> Snapshot:
        """A copy of the present one."""
        moments = (self.optimizer.state.get(p, {}) for p in self.parameters)
        kept = [{name: self._kept(x) for name, x in known.items()} for known in moments]
        return Snapshot([self._kept(p) for p in self.parameters], kept)

    def restore(self, state: Snapshot) -> None:
        """Put model and optimiser into a state."""
        torch._foreach_copy_(self.values, state.parameters)
        places: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for p, known in zip(self.parameters, state.moments, strict=True):
            present = self.optimizer.state.pop(p, {})
            if known and not present:
                present = {name: torch.empty_like(x, device=p.device if x.ndim else None) for name, x in known.items()}
            if known:
                self.optimizer.state[p] = {name: present[name] for name in known}
            for name, x in known.items():
                places.setdefault(name, []).append((present[name], x))
        for pairs in places.values():
            torch._foreach_copy_([to for to, _ in pairs], [x for _, x in pairs])

    def _kept(self, x: Tensor) -> Tensor:
        # The number of steps stays where it is: AdamW expects it on the CPU, and it takes no room.
        return x.detach().to(self.store or x.device, copy=True) if x.ndim else x.detach().clone()
