"""What may be hidden of a picture: patches, whose types are visual words."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policylearn.config import MaskingConfig
from policylearn.masking.corruption import IGNORED
from policylearn.masking.grid import Grid
from policylearn.masking.keys import example_keys

STEPS = 1024
"""Pixels are compared to a fraction of 1: by the last bits, in which libraries differ, hardly a mask changes."""
PerChannel = float | Sequence[float]
"""A number for all channels of a picture, or one for each."""


class PatchField(nn.Module):
    """The `Field` of pictures x [B, T, d]: places are patches, all of which may be hidden, each by itself.

    The type of a patch is its visual word, the nearest of K centroids (Sivic & Zisserman, *Video Google*, ICCV 2003),
    and, with zones > 1, which of zones × zones fields of the picture it is in: type = word · zones² + field.

    What models show for a hidden patch is their own affair: `masking.mask_share` and `random_share` do not matter here.

    Args:
        codebook: [K, d] centroids of patches.
        grid: how pictures are cut.
        masking: rate, design and cap.
        zones: fields per side.
        mean, std: what was taken off pixels from 0 to 1, and what they were then divided by; see `scale_of`.

    Raises:
        ValueError: `masking.unit` is of texts.

    >>> field = PatchField(torch.tensor([[0.0], [1.0]]), Grid(2, 2, patch=1, channels=1), MaskingConfig(), zones=2)
    >>> field.size, field.types(torch.tensor([[[0.1], [0.9], [0.8], [0.2]]]))
    (8, tensor([[0, 5, 6, 3]]))
    """

    def __init__(
        self,
        codebook: Tensor,
        grid: Grid,
        masking: MaskingConfig,
        zones: int = 1,
        mean: PerChannel = 0.5,
        std: PerChannel = 0.5,
    ) -> None:
        super().__init__()
        if masking.unit != "token":
            raise ValueError(f'masking.unit "{masking.unit}" is of texts: of pictures set "token", which is a patch')
        assert codebook.shape[1] == grid.depth
        self.masking, self.grid, self.zones = masking, grid, zones
        self.register_buffer("codebook", codebook.float().clone())
        self.register_buffer("shape", torch.cat([grid.tensor(), torch.tensor([zones])]))
        self.register_buffer("scale", scale_of(mean, std, grid.channels))
        self.register_buffer("zone", grid.zones(zones), persistent=False)

    codebook: Tensor
    shape: Tensor
    scale: Tensor
    zone: Tensor

    @property
    def size(self) -> int:
        """V."""
        return len(self.codebook) * self.zones**2

    def types(self, x: Tensor) -> Tensor:
        """The type of every patch, [B, T]."""
        nearest = (x.float() @ self.codebook.T - self.codebook.square().sum(1) / 2).argmax(2)
        return nearest * self.zones**2 + self.zone

    def eligible(self, x: Tensor, real: Tensor) -> Tensor:
        """All that are real, [B, T]."""
        return real

    def words(self, x: Tensor, real: Tensor) -> Tensor:
        """Every patch is scored by itself, [B, T]."""
        return torch.arange(real.shape[1], device=real.device).expand(real.shape)

    def units(
        self,
        x: Tensor,
        real: Tensor,
        keys: Tensor | None = None,
        ends: Tensor | None = None,
        rate: float | Tensor | None = None,
    ) -> None:
        """Every patch is hidden by itself."""
        return None

    def keys(self, x: Tensor, real: Tensor, seed: int, epoch: int | Tensor) -> Tensor:
        """Of `example_keys` of a picture's pixels, [B]."""
        pixels = (x.float() * STEPS).round().long().flatten(1)
        return example_keys(pixels, torch.ones_like(pixels, dtype=torch.bool), seed, epoch)

    def hide(self, x: Tensor, mask: Tensor, keys: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """(x [B, T, d], 0 where it is hidden; labels [B, T], types of hidden patches and -100 elsewhere)."""
        return x.masked_fill(mask[:, :, None], 0.0), torch.where(mask, self.types(x), IGNORED)


def scale_of(mean: PerChannel, std: PerChannel, channels: int) -> Tensor:
    """[mean, std] of pixels, [2]; or [2, channels], where they differ between channels.

    Raises:
        ValueError: there are more, or fewer, than channels.

    >>> scale_of([0.1, 0.2, 0.3], 0.5, 3)
    tensor([[0.1000, 0.2000, 0.3000],
            [0.5000, 0.5000, 0.5000]])
    >>> scale_of([0.5, 0.5, 0.5], 0.5, 3)
    tensor([0.5000, 0.5000])
    """
    given = {"mean": torch.tensor(mean), "std": torch.tensor(std)}
    for name, one in given.items():
        if one.ndim and len(one) != channels:
            raise ValueError(
                f"patches.{name} has {len(one)} numbers, and pictures have {channels} channels: give one for each"
            )
    scale = torch.stack(torch.broadcast_tensors(*given.values())).float()
    return scale[:, 0] if scale.ndim > 1 and bool((scale == scale[:, :1]).all()) else scale


def in_short(number: PerChannel) -> str:
    """A mean or std, for a message.

    >>> in_short(0.5), in_short([0.485, 0.45600000023841858])
    ('0.5', '[0.485, 0.456]')
    """
    return f"{number:g}" if isinstance(number, int | float) else f"[{', '.join(f'{one:g}' for one in number)}]"


@dataclass(frozen=True)
class MaskedPatches:
    """One mask of a batch of pictures, for every model that reconstructs what it does not see.

    Attributes:
        p: [B, T] float64, inclusion probabilities it was drawn with.
        mask: [B, T] boolean.
        types: [B, T] of every patch, see `PatchField`.
    """

    p: Tensor
    mask: Tensor
    types: Tensor

    def labels(self) -> Tensor:
        """[B, T], the types of hidden patches, and -100 elsewhere."""
        return torch.where(self.mask, self.types, IGNORED)

    def bool_masked_pos(self) -> Tensor:
        """[B, T] boolean, for ViT, Swin, BEiT and VideoMAE; as `mask_time_indices` for Wav2Vec2 and its kin."""
        return self.mask

    def noise(self) -> Tensor:
        """[B, T] float32 in [0, 2), below 1 where a patch is kept, for ViTMAE, which keeps the lowest of each row: of
        a `mask_ratio` that removes as many, it removes just these.

        Raises:
            ValueError: rows have different numbers of hidden patches.

        >>> mask = torch.tensor([[True, False, True, False]])
        >>> MaskedPatches(mask.double(), mask, mask.long()).noise()
        tensor([[1.0000, 0.2500, 1.5000, 0.7500]])
        """
        self.hidden()
        return hidden_last(self.mask)

    def hidden(self) -> int:
        """How many patches are hidden of each picture. ValueError: it is not the same for all."""
        return equal_count(self.mask)


def hidden_last(mask: Tensor) -> Tensor:
    """Numbers [B, T] by which patches stand in order, those that are hidden behind all others."""
    return mask + torch.arange(mask.shape[1], device=mask.device) / mask.shape[1]


def equal_count(mask: Tensor) -> int:
    """How many of each row of a mask [B, T] are hidden. ValueError: it is not the same for all."""
    counts = mask.sum(1)
    least, most = int(counts.min()), int(counts.max())
    if least != most:
        raise ValueError(
            f"from {least} to {most} patches of a picture are hidden, and this model needs equal numbers: set "
            'masking.design to "systematic" or "explore", and one rate for all'
        )
    return most


def whole_rate(rate: float | Tensor, patches: int) -> Tensor:
    """The rate that hides a whole number of patches, as ViTMAE rounds: all but ⌊T · (1 - rate)⌋, and one is left.

    Args:
        rate: one, or [B, 1].
        patches: T.

    Returns:
        [1, 1] or [B, 1] float64.

    >>> whole_rate(0.75, 49) * 49
    tensor([[37.]], dtype=torch.float64)
    """
    wanted = torch.as_tensor(rate, dtype=torch.float64).reshape(-1, 1)
    kept = (patches * (1 - wanted)).floor().clamp(1, max(1, patches - 1))
    return (patches - kept) / patches
