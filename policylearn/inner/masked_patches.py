"""Objective `masked_patches`: a share of the patches of a picture is hidden, and restored from the rest."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from policylearn.inner.masked_lm import MaskedLM
from policylearn.masking import IGNORED, MaskedBatch
from policylearn.masking.patches import PatchField
from policylearn.policy.patches import draw_patches
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.pictures import PictureProblem
from policylearn.problems.problem import Problem


class PatchReconstruction(MaskedLM):
    """ℓ(θ, x) = Σ_i x_i · ℓ_i(θ) / M over the M hidden patches, ℓ_i as `PictureModel` has it; x are weights, all 1.

    The model is given pictures whole, for that is what it is to restore, and hides what has a label by itself. Labels,
    which are what BEiT is to tell, are visual words of the problem, whatever words the policy has.

    Args:
        field: of the problem; None: the model reads no words.
    """

    def __init__(self, field: PatchField | None) -> None:
        self.field = field

    def draw(
        self, policy: MaskingPolicy, x: Tensor, real: Tensor, seed: int, epoch: Any, **settings: Any
    ) -> MaskedBatch:
        """`draw_patches`, of the labels of the problem where they are read."""
        batch = draw_patches(policy, x, real, seed, epoch, **settings)
        if self.field is None:
            return batch
        return replace(batch, labels=torch.where(batch.mask, self.field.types(x), IGNORED))

    def __call__(self, model: Callable[..., Tensor], batch: MaskedBatch, x: Tensor) -> Tensor:
        losses = model(batch.original, batch.real, labels=batch.labels)
        return (x * losses).sum() / max(1, losses.numel())


def masked_patches(problem: Problem) -> PatchReconstruction:
    """The objective of this name."""
    known = cast(PictureProblem, problem)
    return PatchReconstruction(known.field(known.config.masking) if known.tells_words else None)
