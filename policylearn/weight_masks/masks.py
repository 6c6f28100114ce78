"""Scores and masks of weight matrices, as pure functions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

THRESHOLD, LOWEST = 0.01, 0.02
"""τ, and s₀: the scores that are learned start within (-s₀, s)."""


class _StraightThrough(torch.autograd.Function):
    """1[m > τ]; backward is the identity, and so can be differentiated again."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        return (scores > THRESHOLD).to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        return slopes[0]


def binarise(scores: Tensor) -> Tensor:
    """M = 1[m > τ] as numbers; its gradient passes straight through to m.

    >>> m = torch.tensor([-0.01, 0.01, 0.02], requires_grad=True)
    >>> mask = binarise(m)
    >>> mask.tolist(), torch.autograd.grad(mask @ torch.tensor([1.0, 2.0, 3.0]), m)[0].tolist()
    ([0.0, 0.0, 1.0], [1.0, 2.0, 3.0])
    """
    return _StraightThrough.apply(scores)


def highest(sparsity: float) -> float:
    """s such that of scores m ~ U(-s₀, s) the share `sparsity` lies below τ: s = (s₀ + τ) / sparsity - s₀.

    >>> round(highest(0.05), 2)
    0.58
    """
    return (LOWEST + THRESHOLD) / sparsity - LOWEST


def initial_scores(shapes: Mapping[str, torch.Size], sparsity: float, seed: int) -> dict[str, Tensor]:
    """m ~ U(-s₀, s) of every matrix: P(M = 0) = sparsity.

    Args:
        shapes: of the matrices by name.
        sparsity: share of the weights that are masked before learning.
        seed: of the draw.

    >>> scores = initial_scores({"a": torch.Size([300, 400])}, 0.05, seed=0)["a"]
    >>> round(1 - binarise(scores).mean().item(), 2), tuple(scores.shape)
    (0.05, (300, 400))
    """
    draw, high = torch.Generator().manual_seed(seed), highest(sparsity)
    return {name: torch.rand(shape, generator=draw) * (high + LOWEST) - LOWEST for name, shape in shapes.items()}


def masked(parameters: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """W ∘ M where there is a mask, every other parameter as it is.

    >>> masked({"w": torch.tensor([2.0, 3.0]), "b": torch.ones(1)}, {"w": torch.tensor([0.0, 1.0])})
    {'w': tensor([0., 3.]), 'b': tensor([1.])}
    """
    return {name: p * masks[name] if name in masks else p for name, p in parameters.items()}


def pack(mask: Tensor) -> Tensor:
    """A mask of any shape as bits, row by row, uint8 [⌈n / 8⌉]; the last byte is filled up with zeros.

    >>> pack(torch.tensor([[1, 0, 0], [0, 0, 0], [0, 1, 1]])).tolist()
    [129, 128]
    """
    return torch.from_numpy(np.packbits(mask.detach().cpu().numpy().astype(bool)))


def unpack(bits: Tensor, shape: torch.Size) -> Tensor:
    """What was packed, bool of that shape.

    >>> unpack(torch.tensor([129, 128], dtype=torch.uint8), torch.Size([3, 3])).int().tolist()
    [[1, 0, 0], [0, 0, 0], [0, 1, 1]]
    """
    flat = np.unpackbits(bits.cpu().numpy(), count=shape.numel()).view(bool)
    return torch.from_numpy(flat).reshape(shape)
