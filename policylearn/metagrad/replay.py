"""Engine `replay`: exact, and no graph outlives its step. Take ordinary optimiser steps, then walk back over them.

Let a_k = (∂L/∂θ_k, ∂L/∂m_k, ∂L/∂v_k) be the adjoint of the state before step k, L the outer loss. AdamW's update is
elementwise, so its part of a_{k+1} → a_k, and with it u = ∂L/∂g_k, is a closed formula (`adamw.adjoint_step`). The
gradient g_k = Σ_i w_i ∇CE_i(θ_k) / M then gives

    ∂L/∂w_i  =  u · ∇CE_i / M,        ∂L/∂θ_k  +=  ∂(g_k · u)/∂θ_k   (a Hessian-vector product)

both by one double backward through the loss of this one step. The first step of a window needs no Hessian: nobody asks
for ∂L/∂θ_0, and all u · ∇CE_i are one forward-mode derivative.

Walking back needs every state again. A window is cut into leaves of a few steps. Within a leaf only gradients are kept,
a third of a state each, from which AdamW finds its states again; leaves begin at a saved state, or are reached
by recomputing from an earlier one, binomially (Griewank & Walther, 2000), so that memory hardly grows with K.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor, nn

from policylearn.inner.model import Features
from policylearn.inner.window import Window
from policylearn.metagrad.adamw import Adjoint, Settings, adjoint_step
from policylearn.metagrad.one_step import input_derivatives

Gradients = tuple[Tensor | None, ...]
"""Of one step, in the order of the model's parameters; None for a parameter the loss does not see."""


def replay(
    model: nn.Module,
    optimizer: torch.optim.AdamW,
    window: Window,
    outer: Callable[[Features], Tensor],
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
        optimizer: AdamW over its parameters, fresh or warm.
        window: K steps; with seeds, if the model has dropout.
        outer: outer loss as a function of ``features(input_ids, real)`` under the parameters after step K.
        parameters: "matrices" stops the outer gradient at norms and biases, "all" does not.
        leaf: steps whose gradients are kept at once.
        slots: states kept beside those at the start and the end of the window, at least 1.
        store: device to keep states on, such as the CPU when the model is on a GPU; None for the model's own.

    Returns:
        K tensors of the shapes of x_k.

    Raises:
        ValueError: the model has dropout, and there are no seeds.
    """
    if window.seeds is None and any(
        isinstance(part, nn.Dropout) and part.training and part.p for part in model.modules()
    ):
        raise ValueError("the model draws dropout: pass seeds, so that it can be repeated, or call model.eval()")
    assert leaf >= 1 and slots >= 1
    assert not any(group["amsgrad"] or group["maximize"] for group in optimizer.param_groups)
    walk = _Walk(model, optimizer, window, outer, parameters, leaf, store)
    walk.walk_back(0, len(window), walk.state(), slots)
    walk.restore(walk.end)
    walk.set_rate(window.rates[-1])
    return walk.credits[::-1]


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


@dataclass(frozen=True)
class State:
    """Parameters and what the optimiser remembers of each ({} before its first step)."""

    parameters: list[Tensor]
    moments: list[dict[str, Tensor]]


@dataclass
class _Walk:
    """K steps of one model and optimiser, which hold the state of the moment; `walk_back` moves both about."""

    model: nn.Module
    optimizer: torch.optim.AdamW
    window: Window
    outer: Callable[[Features], Tensor]
    through: str
    leaf: int
    store: torch.device | None
    adjoints: list[Adjoint] = field(default_factory=list)
    credits: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.groups = {p: group for group in self.optimizer.param_groups for p in group["params"] if p.requires_grad}
        named = {name: p for name, p in self.model.named_parameters() if p in self.groups}
        self.names, self.parameters = list(named), list(named.values())

    def walk_back(self, low: int, high: int, start: State, slots: int) -> None:
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

    def _walk_back_leaf(self, low: int, high: int, start: State) -> None:
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
        """∂(outer loss)/∂x of step k; the adjoints, in place, from after the step to before it."""
        directions = self.back_over_update(k, gradients)
        if k == 0:
            named = {n: u for n, u in zip(self.names, directions, strict=True) if u is not None}
            with self._seeded(k):
                return input_derivatives(self.model, named, self.window.loss, self.window.batches[k])
        return self.back_over_gradient(k, directions)

    def back_over_update(self, k: int, gradients: Gradients) -> Gradients:
        """∂(outer loss)/∂g_k of every parameter that has a gradient."""
        directions: list[Tensor | None] = []
        for p, adjoint, g in zip(self.parameters, self.adjoints, gradients, strict=True):
            state = self.optimizer.state.get(p, {})
            settings = Settings.of(self.groups[p], state, self.window.rates[k])
            zero = p.new_zeros(()).expand_as(p)
            m, v = state.get("exp_avg", zero), state.get("exp_avg_sq", zero)
            directions.append(None if g is None else adjoint_step(adjoint, m, v, g, settings))
        return tuple(directions)

    def back_over_gradient(self, k: int, directions: Gradients) -> Tensor:
        """u · ∂g_k/∂x; adds the Hessian-vector product to the adjoints."""
        # A backward pass through forward mode would be a little cheaper, but torch's layer norm gets that one wrong.
        x = self.inputs(k).requires_grad_()
        seen = [(g, u) for g, u in zip(self.gradients(k, x), directions, strict=True) if g is not None]
        outputs, along = zip(*seen, strict=True)
        credit, *products = torch.autograd.grad(outputs, [x, *self.parameters], along, allow_unused=True)
        for adjoint, product in zip(self.adjoints, products, strict=True):
            if product is not None:
                adjoint.theta.add_(product)
        return credit

    def inputs(self, k: int) -> Tensor:
        """x_k of an ordinary step."""
        return self.window.loss.inputs(self.window.batches[k], self.parameters[0])

    def gradients(self, k: int, x: Tensor | None = None) -> Gradients:
        """g_k at the present parameters; with an x, differentiable in both."""
        with self._seeded(k):
            loss = self.window.loss(self.model, self.window.batches[k], self.inputs(k) if x is None else x)
        return torch.autograd.grad(loss, self.parameters, create_graph=x is not None, allow_unused=True)

    def outer_adjoints(self) -> list[Adjoint]:
        """Derivatives of the outer loss in the present parameters, none in the moments."""
        slopes = torch.autograd.grad(self.outer(self.model), self.parameters, allow_unused=True)
        adjoints = [Adjoint(*(torch.zeros_like(p) for _ in range(3))) for p in self.parameters]
        for adjoint, slope in zip(adjoints, slopes, strict=True):
            if slope is not None and (slope.ndim > 1 or self.through == "all"):
                adjoint.theta.copy_(slope)
        return adjoints

    def step(self, k: int, gradients: Gradients) -> None:
        """Step k of the optimiser, in place."""
        self.set_rate(self.window.rates[k])
        for p, g in zip(self.parameters, gradients, strict=True):
            p.grad = g
        self.optimizer.step()
        self.optimizer.zero_grad()

    def set_rate(self, rate: float) -> None:
        """As an ordinary step of this learning rate leaves it in the optimiser."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def state(self) -> State:
        """A copy of the present state."""
        moments = [self.optimizer.state.get(p, {}) for p in self.parameters]
        kept = [{name: self._kept(value) for name, value in known.items()} for known in moments]
        return State([self._kept(p) for p in self.parameters], kept)

    def restore(self, state: State) -> None:
        """Put model and optimiser into a state."""
        for p, value, known in zip(self.parameters, state.parameters, state.moments, strict=True):
            p.detach().copy_(value)
            present = self.optimizer.state.pop(p, {})
            if known and not present:
                present = {name: torch.empty_like(x, device=p.device if x.ndim else None) for name, x in known.items()}
            if known:
                self.optimizer.state[p] = {name: present[name].copy_(x) for name, x in known.items()}

    def _kept(self, x: Tensor) -> Tensor:
        # The number of steps stays where it is: AdamW expects it on the CPU, and it takes no room.
        return x.detach().to(self.store or x.device, copy=True) if x.ndim else x.detach().clone()

    @contextmanager
    def _seeded(self, k: int) -> Iterator[None]:
        """Within, torch's generators are those of step k; afterwards as they were before."""
        if self.window.seeds is None:
            yield
            return
        device = self.parameters[0].device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.window.seeds[k])
            yield
