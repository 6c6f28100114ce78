"""Objective `masked_lm`: a share of a text is masked, corrupted and predicted, by an encoder–decoder as well (BART)."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from policylearn.masking import MaskedBatch
from policylearn.policy.policy import MaskingPolicy, mask_tokens
from policylearn.problems.problem import Problem


def mlm_loss(model: Callable[..., Tensor], batch: MaskedBatch, weights: Tensor | None = None) -> Tensor:
    """ℓ(θ, w) = Σ_i w_i · CE_i(θ) / M over the M masked positions (a scalar; 0 where nothing is masked).

    Args:
        model: an `InnerModel`, possibly functional.
        batch: what was masked.
        weights: [M] in row order; None for ones, the ordinary MLM loss.
    """
    losses = model(batch.shown, batch.real, labels=batch.labels)
    return (losses if weights is None else weights * losses).sum() / max(1, losses.numel())


def micro_batches(batch: MaskedBatch, rows: int) -> Iterator[tuple[MaskedBatch, float]]:
    """A batch cut into parts of so many rows, each with its share of the masked tokens.

    >>> import torch
    >>> ids = torch.tensor([[5, 6], [7, 8]])
    >>> batch = MaskedBatch(ids, ids, ids > 0, torch.tensor([[5, -100], [7, 8]]))
    >>> [(part.labels.tolist(), round(share, 2)) for part, share in micro_batches(batch, rows=1)]
    [([[5, -100]], 0.33), ([[7, 8]], 0.67)]
    """
    masked = max(1, int(batch.mask.sum()))
    for low in range(0, len(batch.labels), rows):
        part = batch.rows(slice(low, low + rows))
        yield part, int(part.mask.sum()) / masked


class MaskedLM:
    """The weighted loss of `mlm_loss` on batches of `mask_tokens`; x are the weights of the M masked tokens, all 1."""

    def draw(
        self, policy: MaskingPolicy, x: Tensor, real: Tensor, seed: int, epoch: Any, **settings: Any
    ) -> MaskedBatch:
        """`mask_tokens`: at masking.rate, shown as masking.mask_share and random_share say."""
        return mask_tokens(policy, x, real, seed, epoch, **settings)

    def inputs(self, batch: MaskedBatch, like: Tensor) -> Tensor:
        """Ones [M].

        >>> import torch
        >>> ids = torch.tensor([[5, 6]])
        >>> batch = MaskedBatch(ids, ids, ids > 0, torch.tensor([[5, -100]]))
        >>> MaskedLM().inputs(batch, like=torch.zeros(3))
        tensor([1.])
        """
        return like.new_ones(int(batch.mask.sum()))

    def __call__(self, model: Callable[..., Tensor], batch: MaskedBatch, x: Tensor) -> Tensor:
        """Σ_i x_i · CE_i(θ) / M."""
        return mlm_loss(model, batch, x)

    def parts(self, batch: MaskedBatch, x: Tensor, rows: int) -> Iterator[tuple[MaskedBatch, Tensor, float]]:
        """Rows with their weights, and their share of the masked tokens."""
        low = 0
        for part, share in micro_batches(batch, rows):
            high = low + int(part.mask.sum())
            yield part, x[low:high], share
            low = high


def masked_lm(problem: Problem) -> MaskedLM:
    """The objective of this name."""
    return MaskedLM()
