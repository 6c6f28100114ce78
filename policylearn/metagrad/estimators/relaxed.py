"""Estimator `relaxed`: what predicting a token did, and what hiding it did to the prediction of the others.

A masked token enters an inner step twice: its loss counts, and its neighbours see [MASK] in its place. Each part gets
an input of its own,

    ℓ(θ, w, h) = Σ_i w_i · CE_i(θ, e(h)) / M,      e_i = h_i · e(shown_i) + (1 - h_i) · e(token_i),

with w = h = mask, where nothing differs from an ordinary step. w is credited as in `credit`, by Horvitz-Thompson;
h is straight-through, h = m + p - stop_gradient(p), and speaks for tokens that are not masked, too
(after Ye et al., *On the Influence of Masking Policies in Intermediate Pre-training*, EMNLP 2021):

    Σ_i (m_i / p_i · ∂L/∂w_i + ∂L/∂h_i) ∂p_i/∂φ.

Straight-through for w as well would ask what a little of a loss *that sees its own token* is worth. It needs the
vocabulary head at every position, and lies further from the truth (experiments/estimators).
"""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from policylearn.inner.masked_lm import micro_batches
from policylearn.masking import MaskedBatch
from policylearn.metagrad.estimators.credit import advantages, credit_surrogate, expected_size, spread
from policylearn.models.model import Blend


class SoftMask:
    """The MLM loss with inputs x = (w, h), [2, B, T]; for engines, see `inner.window.Loss`.

    Args:
        shown_if_masked: what a batch's eligible tokens show in their place when masked, [B, T] token ids. Of masked
            tokens that is whatever stands there: a token that was left as it is hides nothing.
    """

    def __init__(self, shown_if_masked: Callable[[MaskedBatch], Tensor]) -> None:
        self.shown_if_masked = shown_if_masked

    def inputs(self, batch: MaskedBatch, like: Tensor) -> Tensor:
        """The mask, twice."""
        return batch.mask.to(like).expand(2, -1, -1).clone()

    def __call__(self, model: Callable[..., Tensor], batch: MaskedBatch, x: Tensor) -> Tensor:
        """Σ_i w_i · CE_i(θ, e(h)) / M over the masked positions."""
        weights, hidden = x[0][batch.mask], x[1]
        blend = Blend(hidden - batch.mask.to(x), self.shown_if_masked(batch), batch.original)
        losses = model(batch.shown, batch.real, labels=batch.labels, blend=blend)
        return (weights * losses).sum() / max(1, losses.numel())

    def parts(self, batch: MaskedBatch, x: Tensor, rows: int) -> Iterator[tuple[MaskedBatch, Tensor, float]]:
        """Rows with their soft masks, and their share of the masked tokens."""
        for inputs, (part, share) in zip(x.split(rows, dim=1), micro_batches(batch, rows), strict=True):
            yield part, inputs, share


def relaxed_parts(masks: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Per batch the advantages of w, [M], and the gradient in h, [B, T], in the same unit.

    Args:
        masks: [B, T] boolean each.
        gradients: [2, B, T] each, ∂(outer loss)/∂(w, h).
    """
    weights = [gradient[0][mask] for mask, gradient in zip(masks, gradients, strict=True)]
    unit = spread(weights)
    return [(a, gradient[1] / unit) for a, gradient in zip(advantages(weights), gradients, strict=True)]


def relaxed_surrogate(p: Tensor, mask: Tensor, weights: Tensor, hidden: Tensor) -> Tensor:
    """A scalar whose gradient in φ is that of the relaxed mask, over the expected number of masked tokens.

    Args:
        p: [B, T] inclusion probabilities, differentiable in φ.
        mask: [B, T] boolean, the M tokens that were drawn with them.
        weights: [M], ∂(outer loss)/∂w_i or its advantage.
        hidden: [B, T], ∂(outer loss)/∂h_i.

    >>> import torch
    >>> p = torch.tensor([[0.5, 0.5]], requires_grad=True)
    >>> relaxed_surrogate(p, torch.tensor([[True, False]]), torch.tensor([1.0]), torch.tensor([[0.1, 0.2]])).backward()
    >>> p.grad
    tensor([[2.1000, 0.2000]])
    """
    return credit_surrogate(p, mask, weights) + (hidden * p).sum() / expected_size(p)
