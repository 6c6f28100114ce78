"""A policy in the training of masked-diffusion language models: texts hidden at every rate, and weights for the loss.

Of n tokens of a text, t · n are hidden, uniform over 1 … n, by a mask m whose inclusion probabilities p sum to t · n:

    ℓ(θ) = 1 / n · Σ_i w_i · CE_i(θ; m)

- weights "inclusion", w_i = m_i / p_i (Horvitz & Thompson, 1952):   E ℓ = 1/n Σ_i E_t E[CE_i | m_i = 1, t].
  Every token counts once at every rate; a policy says in what context, and how often it is looked at.
- weights "rate", w_i = m_i / t:   E ℓ = 1/n Σ_i E_t p_i / t · E[CE_i | m_i = 1, t].
  A policy also says what counts, as in the learning of one (`inner/masked_diffusion.py`).

Where all p_i are equal, tokens single and sizes fixed, both are the bound on -log P(text) / n of MDLM (Sahoo et al.,
NeurIPS 2024) in the form of LLaDA (Nie et al., 2025), without bias. **Under any other policy neither bounds the
likelihood**, for all that each is estimated without bias: what is hidden along with a token is then not what a random
order of tokens, and with it the chain rule, leaves to be told; and where p looks at the tokens it hides, the mask tells
of them. What a bound needs besides, rates d log p_i / dt and a divergence between orders, is in GenMD4 (Shi et al.,
NeurIPS 2024) and LoMDM (Hong et al., arXiv 2602.02112). So a policy is a way to train; models are compared by the
bound of uniform masks.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from policylearn.masking import Stream, positions, uniforms, whole_rates
from policylearn.masking.corruption import IGNORED
from policylearn.policy.policy import Columns, MaskingPolicy, draw_keys, mask_tokens

Weighting = Literal["inclusion", "rate"]


class Diffused(NamedTuple):
    """What is hidden of B texts of T tokens.

    Attributes:
        mask: [B, T] boolean, hidden and to be restored.
        t: [B] float32, the rate of each.
        p: [B, T] float32, the probability with which each token is hidden at this rate; 0 where it never is.
    """

    mask: Tensor
    t: Tensor
    p: Tensor

    def weights(self, weighting: Weighting = "inclusion") -> Tensor:
        """w [B, T] float32, 0 where nothing is hidden."""
        by = self.p if weighting == "inclusion" else self.t[:, None]
        return torch.where(self.mask, 1.0 / by, 0.0)

    def show(self, x: Tensor, mask_id: int) -> Tensor:
        """Token ids [B, T] of which those that are hidden are [MASK]."""
        return torch.where(self.mask, mask_id, x)

    def labels(self, x: Tensor) -> Tensor:
        """Token ids [B, T] of what is hidden, -100 elsewhere."""
        return torch.where(self.mask, x, IGNORED)

    def to(self, device: torch.device) -> "Diffused":
        """On another device."""
        return Diffused(*(part.to(device) for part in self))

    def with_complements(self) -> "Diffused":
        """Rows 2 B, each followed by what it shows: hidden by 1 - m, at rate 1 - t and with probabilities 1 - p.

        Of a text that is hidden whole nothing is left for another row: it comes twice. So either row's size is uniform
        over 1 … n, and equal p make of both the bound of equal p.

        >>> m = torch.tensor([[True, False, False, False], [True, True, True, False]])  # of four tokens, and of three
        >>> p = torch.tensor([[0.4, 0.3, 0.3, 0.0], [1.0, 1.0, 1.0, 0.0]])
        >>> pairs = Diffused(m, torch.tensor([1 / 3, 1.0]), p).with_complements()
        >>> pairs.mask.int().tolist()
        [[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0]]
        >>> pairs.p[1].tolist(), pairs.t.tolist()  # doctest: +ELLIPSIS
        ([0.60..., 0.69..., 0.69..., 0.0], [0.33..., 0.66..., 1.0, 1.0])
        """
        counted, whole = self.p > 0, self.t == 1.0
        rest = Diffused(~self.mask & counted, 1.0 - self.t, torch.where(counted, 1.0 - self.p, 0.0))
        other = (torch.where(whole.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in zip(self, rest, strict=True))
        return Diffused(*(torch.stack([a, b], 1).flatten(0, 1) for a, b in zip(self, other, strict=True)))


def diffuse(
    policy: MaskingPolicy,
    x: Tensor,
    real: Tensor,
    seed: int,
    epoch: int | Tensor,
    columns: Columns | None = None,
    *,
    floor: float = 0.0,
    ends: bool = False,
) -> Diffused:
    """What of a batch is hidden, at rates that are whole numbers of tokens and spread over its rows (`whole_rates`).

    Args:
        policy: π_φ, with its units and its design; its own rate is of no concern.
        x: [B, T] token ids.
        real: [B, T] boolean, what is trained on; nothing else is hidden, or seen by the policy.
        seed, epoch: what, beside its tokens, a mask depends on; `epoch` may be one for each row, [B].
        columns: scores that came with the text.
        floor: share of the rate that is spent on all tokens alike: p_i ≥ floor · t, so that no weight exceeds
            1 / (floor · t), and in complements none 1 / (floor · (1 - t)).
        ends: special tokens too, of which a policy says nothing, are hidden, each with probability t: where a model has
            to learn where texts end.
    """
    counted = real if ends else policy.eligible(x, real)
    keys = draw_keys(policy, x, real, seed, epoch)
    t = whole_rates(counted.sum(1), keys)
    batch = mask_tokens(policy, x, real, seed, epoch, columns=columns, rate=t, floor=floor)
    assert batch.p is not None
    mask, p = batch.mask, batch.p
    if ends:
        others = counted & ~policy.eligible(x, real)
        mask = mask | (others & (uniforms(keys, positions(real), Stream.INCLUDE) < t))
        p = torch.where(others, t, p)
    return Diffused(mask, t[:, 0].float(), p.float())
