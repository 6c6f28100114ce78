"""Masking that follows the mistakes of the model in training (AMLM)."""

import torch
from torch import Tensor, nn

from policylearn.policy.scores import RANK, scorer_of

AMLM = "amlm"
KEPT, FLOOR = 0.2, 0.005
ARM_STRENGTH = 8.0
"""Strength of a scorer that is an arm but no part of the configured prior. Those whose scores are logarithms of weights
(ranks, adaptive weights) have strength 1: p goes as the weight."""


def amlm_update(weights: Tensor, p: float, hits: Tensor, seen: Tensor) -> Tensor:
    """One update of adaptive masking: w ← .2 w + .8 p (1 − accuracy), at least .005, scaled to a mean of p.

    After Edman & Fraser ("Mask and You Shall Receive", BabyLM 2025), their "hard" variant. p is the masking rate, the
    probability every type begins with; accuracy is (hits + ½) / (seen + 1), so that one lucky guess does not count as
    knowledge. A type not seen since the last update keeps its w (before scaling); theirs would drift to p / 2.

    Args:
        weights: [V] of the last update; p each, to begin with.
        p: the masking rate.
        hits: [V], how often a masked token of this type was predicted since the last update.
        seen: [V], how often one was masked.

    Returns:
        [V].

    >>> w = torch.full((3,), 0.15)
    >>> amlm_update(w, 0.15, hits=torch.tensor([0, 99, 0]), seen=torch.tensor([99, 99, 0]))
    tensor([0.2037, 0.0417, 0.2045])
    """
    accuracy = (hits + 0.5) / (seen + 1)
    moved = KEPT * weights + (1 - KEPT) * p * (1 - accuracy)
    floored = torch.where(seen > 0, moved, weights).clamp(min=FLOOR)
    return p * floored / floored.mean()


def check_follows_no_model(scorer: str) -> None:
    """Refuse a scorer that is nothing without the training of a model, where a policy is to be had by itself.

    Raises:
        ValueError: it is AMLM.
    """
    if scorer_of(scorer) == AMLM:
        raise ValueError(
            f"scorer {AMLM!r} follows the mistakes of the model in training, which a policy by itself does not see: "
            "compare it as an arm of `policylearn evaluate`"
        )


class AdaptiveWeights(nn.Module):
    """Masking weights that follow the model's mistakes while it trains; see `amlm_update`.

    All state is in buffers: `state_dict` saves it, `.to(device)` moves it.

    Args:
        size: V.
        p: the masking rate.
        every: batches between two updates, whatever parts they were computed in.
    """

    weights: Tensor
    hits: Tensor
    seen: Tensor
    batches: Tensor

    def __init__(self, size: int, p: float, every: int = 200) -> None:
        super().__init__()
        self.p, self.every = p, every
        self.register_buffer("weights", torch.full((size,), p))
        for name, shape in (("hits", (size,)), ("seen", (size,)), ("batches", ())):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.int64))

    def observe(self, labels: Tensor, predicted: Tensor) -> None:
        """Note what was predicted in one batch: true and predicted ids [M] of its masked tokens."""
        self.seen += labels.bincount(minlength=len(self.seen))
        self.hits += labels[labels == predicted].bincount(minlength=len(self.hits))
        self.batches += 1
        if self.batches % self.every == 0:
            self.weights.copy_(amlm_update(self.weights, self.p, self.hits, self.seen))
            self.hits.zero_()
            self.seen.zero_()

    @property
    def scores(self) -> Tensor:
        """log w, [V]: as logits they give inclusion probabilities that go as w while these are small."""
        return self.weights.log()


def default_strength(arm: str) -> float:
    """Of a scorer that has no strength of its own."""
    return 1.0 if arm.endswith(RANK) or arm == AMLM else ARM_STRENGTH
