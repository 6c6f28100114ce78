"""A masking policy over pictures: how it is made, and one mask of a batch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from policylearn.config import MaskingConfig, PolicyConfig
from policylearn.masking import MaskedBatch, rates_of
from policylearn.masking.grid import Grid
from policylearn.masking.patches import MaskedPatches, PatchField, whole_rate
from policylearn.masking.structure import STRUCTURES
from policylearn.policy.policy import Columns, MaskingPolicy, draw_keys, mask_tokens
from policylearn.policy.scores import Scores, scorer_of
from policylearn.protocols import Field

REGION = "region"
"""The scorer whose scores come with every picture, see `region`."""


def patch_field(field: Field) -> PatchField:
    """A field, known to be of pictures. ValueError: it is not."""
    if not isinstance(field, PatchField):
        raise ValueError(
            "this needs a policy over pictures, and the one given is over texts: give it to PolicyCollator"
        )
    return field


def patch_policy(
    field: PatchField, scores: Mapping[str, Scores], strengths: Mapping[str, float], **settings: Any
) -> MaskingPolicy:
    """A policy that starts from scores of visual words.

    Args:
        field: of pictures.
        scores: by scorer; of those that are drawn or come with a picture (`STRUCTURES`, `REGION`) none is needed.
        strengths: of every scorer of the prior.
        settings: of `PolicyConfig`, such as network; "none" unless given.
    """
    nothing = Scores(torch.zeros(field.size))
    known = {name: nothing for name in (*STRUCTURES, REGION)} | dict(scores)
    config = PolicyConfig(**{"prior": dict(strengths), "network": "none", **settings})
    features = field.codebook.repeat_interleave(field.zones**2, 0)
    return MaskingPolicy(config, known, torch.zeros(0, dtype=torch.int64), features, field)


def random_patches(grid: Grid, masking: MaskingConfig) -> MaskingPolicy:
    """The policy that knows nothing: every patch is as likely as any other."""
    return patch_policy(PatchField(torch.zeros(1, grid.depth), grid, masking), {}, {})


def draw_patches(
    policy: MaskingPolicy,
    x: Tensor,
    real: Tensor,
    seed: int,
    epoch: int | Tensor,
    progress: float = 0.0,
    columns: Columns | None = None,
) -> MaskedBatch:
    """`mask_tokens` at a rate that hides a whole number of patches, equal for all pictures unless rates are drawn;
    arguments as there, x [B, T, d]."""
    field = patch_field(policy.field)
    keys = draw_keys(policy, x, real, seed, epoch)
    rate = whole_rate(rates_of(policy.masking.rate, progress, keys), x.shape[1]).expand(len(x), 1)
    drawn = {name: STRUCTURES[name](keys, field.grid) for name in map(scorer_of, policy.names) if name in STRUCTURES}
    return mask_tokens(policy, x, real, seed, epoch, columns={**drawn, **(columns or {})}, rate=rate)


def mask_patches(
    policy: MaskingPolicy,
    pixels: Tensor,
    seed: int = 0,
    epoch: int | Tensor = 0,
    progress: float = 0.0,
    columns: Columns | None = None,
) -> MaskedPatches:
    """One mask of a batch of pictures.

    Args:
        policy: over pictures.
        pixels: [B, channels, height, width], or films [B, frames, channels, height, width].
        seed, epoch: what, beside its pixels, the mask of a picture depends on; `epoch` may be [B].
        progress: share of training that is done, for a rate that has a schedule.
        columns: scorer → [B, T] scores that came with the pictures.

    Raises:
        ValueError: the policy is not over pictures, or these are of another size.

    >>> policy = random_patches(Grid(8, 8, patch=2), MaskingConfig(rate=0.75))
    >>> mask = mask_patches(policy, torch.rand(2, 3, 8, 8))
    >>> mask.bool_masked_pos().sum(1), mask.noise().shape, mask.p[0, 0]
    (tensor([12, 12]), torch.Size([2, 16]), tensor(0.7500, dtype=torch.float64))
    """
    field = patch_field(policy.field)
    x = field.grid.patches(pixels)
    batch = draw_patches(policy, x, torch.ones(x.shape[:2], dtype=torch.bool), seed, epoch, progress, columns)
    with torch.no_grad():
        p = policy.probabilities(batch.original, batch.real, lead=batch.lead, rate=batch.rate, columns=batch.columns)
    return MaskedPatches(p, batch.mask, field.types(x))
