"""A window: consecutive inner steps to differentiate through, and the inputs x_k to differentiate in."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class Loss(Protocol):
    """The loss ℓ(θ, x) of one inner step, and the point x at which an ordinary step takes it."""

    def inputs(self, batch: Any, like: Tensor) -> Tensor:
        """x of an ordinary step on this batch, of the dtype and on the device of `like`."""

    def __call__(self, model: Callable[..., Tensor], batch: Any, x: Tensor) -> Tensor:
        """ℓ(θ, x), a scalar, differentiable in both. `model` may be functional: all that can be done is call it."""

    def parts(self, batch: Any, x: Tensor, rows: int) -> Iterator[tuple[Any, Tensor, float]]:
        """The batch cut into so many rows at once: (batch, x, share) such that ℓ = Σ share · ℓ(part)."""


@dataclass(frozen=True)
class Window:
    """K consecutive inner steps.

    Attributes:
        batches: what they see, one each.
        rates: K learning rates.
        loss: of a step, and the inputs it can be differentiated in.
        clip: largest norm of a step's whole gradient, as in `torch.nn.utils.clip_grad_norm_`; None: any.
        seeds: K seeds of torch's generators, for a model with dropout.
        rows: of a batch at once; the gradient of a step is accumulated over such parts. None: all.
    """

    batches: Sequence[Any]
    rates: Sequence[float]
    loss: Loss
    clip: float | None = None
    seeds: Sequence[int] | None = None
    rows: int | None = None

    def __post_init__(self) -> None:
        assert len(self.batches) == len(self.rates)
        assert self.seeds is None or len(self.seeds) == len(self.batches)

    def set_rate(self, optimizer: torch.optim.Optimizer, k: int) -> None:
        """Give the optimiser the learning rate of step k."""
        for group in optimizer.param_groups:
            group["lr"] = self.rates[k]

    def losses(self, model: Callable[..., Tensor], k: int, x: Tensor) -> Iterator[Tensor]:
        """Scalars that add up to ℓ of step k; between two of them nothing need be kept."""
        with self.seeded(k, x.device):
            if self.rows is None:
                yield _scalar(self.loss(model, self.batches[k], x))
                return
            for batch, inputs, share in self.loss.parts(self.batches[k], x, self.rows):
                yield share * _scalar(self.loss(model, batch, inputs))

    @contextmanager
    def seeded(self, k: int, device: torch.device) -> Iterator[None]:
        """Within, torch's generators are those of step k, if there are seeds; afterwards as they were before."""
        if self.seeds is None:
            yield
            return
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.default_generator.manual_seed(self.seeds[k])  # torch.manual_seed would seed every GPU anew
            if device.type == "cuda":
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(self.seeds[k])
            yield

    def __len__(self) -> int:
        """K."""
        return len(self.batches)


def _scalar(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor) or loss.ndim:
        given = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"the loss of inner.objective is {given}: have it be a tensor without dimensions")
    return loss


def weighed(slope: Tensor | None) -> Tensor:
    """The derivative of a loss in x. ValueError: there is none, for x is not in it."""
    if slope is None:
        raise ValueError("the loss of inner.objective has no x in it: have it weigh the losses of tokens by x")
    return slope
