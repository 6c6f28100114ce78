"""Objective `masked_diffusion`: texts masked at every rate from one token to all, and restored.

    ℓ(θ, x) = 1 / L · Σ_rows 1 / t · Σ_i x_i · CE_i(θ)        over the masked tokens of a row; L eligible tokens in all

bounds the negative log-likelihood of a text from above, per token: MDLM (Sahoo et al., NeurIPS 2024) and LLaDA (Nie et
al., 2025), whose form for whole tokens this is: of a row of n eligible tokens, t · n of them, uniform over 1 … n.
That is for uniform masks; a policy says which tokens these are, with inclusion probabilities that add up to t · n.
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from policylearn.inner.masked_lm import MaskedLM
from policylearn.masking import MaskedBatch, eligible_positions, whole_rates
from policylearn.policy.policy import MaskingPolicy, mask_tokens
from policylearn.problems.problem import Problem

ALL_HIDDEN = {"mask_share": 1.0, "random_share": 0.0}


class MaskedDiffusion(MaskedLM):
    """The loss above; x are further weights of the M masked tokens, all 1.

    Args:
        special: [V] boolean, token ids that are never masked and do not count.
    """

    def __init__(self, special: Tensor) -> None:
        self.special = special

    def draw(
        self, policy: MaskingPolicy, x: Tensor, real: Tensor, seed: int, epoch: Any, **settings: Any
    ) -> MaskedBatch:
        """As `mask_tokens`, at the rates of `whole_rates`, every masked token shown as [MASK]."""
        rate = whole_rates(policy.eligible(x, real).sum(1), policy.field.keys(x, real, seed, epoch))
        return mask_tokens(policy.under(**ALL_HIDDEN), x, real, seed, epoch, rate=rate, **settings)

    def __call__(self, model: Callable[..., Tensor], batch: MaskedBatch, x: Tensor) -> Tensor:
        losses = model(batch.shown, batch.real, labels=batch.labels)
        assert isinstance(batch.rate, Tensor)
        weights = (1.0 / batch.rate).expand(batch.mask.shape)[batch.mask].to(losses.device, losses.dtype)
        return (x * weights * losses).sum() / max(1, self._tokens(batch))

    def parts(self, batch: MaskedBatch, x: Tensor, rows: int) -> Iterator[tuple[MaskedBatch, Tensor, float]]:
        """Rows with their weights, and their share of the eligible tokens."""
        for part, inputs, _ in super().parts(batch, x, rows):
            yield part, inputs, self._tokens(part) / max(1, self._tokens(batch))

    def _tokens(self, batch: MaskedBatch) -> int:
        """L."""
        return int(eligible_positions(batch.original, batch.real, self.special).sum())


def masked_diffusion(problem: Problem) -> MaskedDiffusion:
    """The objective of this name."""
    return MaskedDiffusion(problem.vocabulary.special)
