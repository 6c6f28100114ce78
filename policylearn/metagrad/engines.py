"""The engines by name, as in `inner.engine`; further ones come by the entry point `policylearn.engines`. All take the
same arguments and go after the same derivative: `unroll` and `replay` exactly, to rounding, `finite_difference` nearly,
`one_step` to first order, for windows of one step only."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from policylearn.adapt.finetune import FineTuning
from policylearn.inner.window import Window
from policylearn.models.model import Features
from policylearn.registry.known import ENGINES

Outer = Callable[[Features], Tensor] | FineTuning
"""The outer loss: of ``features(input_ids, real)`` under θ_K, or after fine-tuning that starts from θ_K."""


class Engine(Protocol):
    """(θ, optimiser, K steps, outer loss) → ∂(outer loss)/∂x_k."""

    def __call__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        window: Window,
        outer: Outer,
        parameters: str = "matrices",
    ) -> list[Tensor]: ...


def engine(name: str) -> Engine:
    """The engine of this name, imported when it is asked for: only `unroll` needs `higher`. ValueError: there is none.

    >>> engine("replay").__name__
    'replay'
    """
    return ENGINES.get(name)
