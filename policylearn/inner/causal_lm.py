"""Next-token prediction by an encoder: a phase that a training may begin with, before there are masks.

    ℓ(θ, x) = Σ_i x_i · -log p_θ(token_i | tokens before i) / M        over the M tokens that might be masked

through the model's own head, which reads the state of the token before. A causal phase and a short one of masks gain
0.3 to 2.8 points over masks alone on the same texts and compute (arXiv 2605.12438). It has no masks to learn, so it is
no `inner.objective`.
"""

from typing import Any

import torch
from torch import Tensor

from policylearn.inner.masked_lm import MaskedLM
from policylearn.masking import IGNORED, MaskedBatch
from policylearn.models.model import InnerModel
from policylearn.policy.policy import MaskingPolicy


class CausalLM(MaskedLM):
    """The loss above; x are the weights of the M tokens, all 1."""

    def draw(
        self, policy: MaskingPolicy, x: Tensor, real: Tensor, seed: int, epoch: Any, **settings: Any
    ) -> MaskedBatch:
        """Texts as they are, each token to be predicted where the one before it stands. Of the policy only what may be
        masked counts, and nothing is drawn."""
        labels = torch.full_like(x, IGNORED)
        told = policy.eligible(x, real)[:, 1:] & real[:, :-1]
        labels[:, :-1] = torch.where(told, x[:, 1:], IGNORED)
        return MaskedBatch(x, x, backwards(real), labels)


def backwards(real: Tensor) -> Tensor:
    """Which tokens each may look at: itself and those before it, [B, T, T]; real [B, T]: not padding.

    >>> backwards(torch.tensor([[True, True, False]])).int()
    tensor([[[1, 0, 0],
             [1, 1, 0],
             [1, 1, 0]]], dtype=torch.int32)
    """
    return real[:, None, :].expand(-1, real.shape[1], -1).tril()


@torch.no_grad()
def check_looks_back(model: InnerModel) -> None:
    """Refuse a model that cannot be kept from looking ahead, found out by two texts of which only the end differs.

    Raises:
        ValueError: naming its type.
    """
    kind = model.mlm.config.model_type
    refused = ValueError(
        f"a causal phase (arm causal-first, evaluate.custom) does not go with model type {kind!r}, whose tokens see "
        "those behind them whatever the attention mask: take the arm out, or another model"
    )
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9]], device=next(model.parameters()).device)
    if model.mlm.config.is_encoder_decoder:
        raise refused
    try:
        states = model.encode(ids, backwards(torch.ones_like(ids, dtype=torch.bool)))[:, :-1]
    except Exception as error:  # code of others, which fails in any way it likes
        raise refused from error
    if not torch.allclose(states[0], states[1], atol=1e-5):
        raise refused
