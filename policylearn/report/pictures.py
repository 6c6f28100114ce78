"""Pictures under their mask probabilities."""

import base64
import io
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from policylearn.policy.patches import mask_patches, patch_field
from policylearn.policy.policy import Columns, MaskingPolicy

SIDE, GAP = 84, 6
"""Of a picture and between two, in pixels of the sheet."""
DRAWS = 8
"""Masks that p is averaged over: it is another one in each where it follows what is drawn, as of blocks."""
WARM = np.array([214, 69, 65])


def probabilities(policy: MaskingPolicy, x: Tensor, columns: Columns | None = None) -> Tensor:
    """Of every patch of pictures x [B, T, d], which scores [B, T] may have come with, [B, T]."""
    pixels = patch_field(policy.field).grid.pixels(x)
    return torch.stack([mask_patches(policy, pixels, epoch=epoch, columns=columns).p for epoch in range(DRAWS)]).mean(0)


def overlay(x: Tensor, p: Tensor, policy: MaskingPolicy) -> np.ndarray:
    """One picture x [T, d] in grey, [SIDE, SIDE, 3] uint8, the warmer the likelier a patch is to be hidden: p [T]
    from the lowest to the highest of the picture, half of the colour at most."""
    grid = patch_field(policy.field).grid
    grey = grid.pixels(x[None])[0].mean(0)
    grey = (grey - grey.min()) / (grey.max() - grey.min()).clamp(min=1e-6)
    shares = (p - p.min()) / (p.max() - p.min()) if float(p.max() - p.min()) > 1e-6 else torch.full_like(p, 0.5)
    warm = shares.reshape(grid.rows, grid.columns).repeat_interleave(grid.patch, 0).repeat_interleave(grid.patch, 1)
    share = 0.6 * warm.numpy()[..., None]
    shown = (1 - share) * 255 * grey.numpy()[..., None] + share * WARM
    rows, columns = (np.arange(SIDE) * n // SIDE for n in (grid.height, grid.width))
    return shown[rows][:, columns].round().astype(np.uint8)


def sheet(x: Tensor, policies: Mapping[str, MaskingPolicy], left: int = 190, columns: Columns | None = None) -> bytes:
    """A PNG: a row for every policy, a column for every picture x [B, T, d] of one frame; names stand on the left.

    Raises:
        ValueError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw  # here only: who shows no pictures needs no Pillow
    except ModuleNotFoundError as error:
        raise ValueError("showing pictures needs Pillow: pip install 'policylearn[vision]'") from error
    size = (left + len(x) * (SIDE + GAP) - GAP, len(policies) * (SIDE + GAP) - GAP)
    page = Image.new("RGB", size, "white")
    for row, (name, policy) in enumerate(policies.items()):
        ImageDraw.Draw(page).text((4, row * (SIDE + GAP) + SIDE // 2 - 6), name.replace("×", "x"), fill="black")
        for column, p in enumerate(probabilities(policy, x, columns)):
            shown = Image.fromarray(overlay(x[column], p, policy))
            page.paste(shown, (left + column * (SIDE + GAP), row * (SIDE + GAP)))
    written = io.BytesIO()
    page.save(written, "PNG", optimize=True)
    return written.getvalue()


def drawn_pictures(
    policy: MaskingPolicy, x: Tensor, names: Sequence[str] = (), columns: Columns = MappingProxyType({})
) -> dict[str, Any]:
    """Pictures x [B, T, d] before and after learning as HTML, as `page.drawn` has texts, under their names if they have
    any, by the scores [B, T] that came with them; where nothing was learned, each is shown once."""
    given = [{name: values[i : i + 1] for name, values in columns.items()} for i in range(len(x))]
    both = {"before learning": policy.before(), "after learning": policy}
    files = [[sheet(x[i : i + 1], {"": one}, 0, own) for one in both.values()] for i, own in enumerate(given)]
    alike = all(prior == learned for prior, learned in files)
    shown = [
        tuple(
            embedded(file, f"masks of picture {number}{'' if alike else f', {when}'}", name)
            for when, file in zip(both, pair, strict=True)
        )
        for number, (pair, name) in enumerate(zip(files, [*names, *[""] * len(x)], strict=False), 1)
    ]
    return {
        "pairs": [] if alike else shown,
        "texts": [learned for _, learned in shown] if alike else [],
        "legend": "",
        "sample": "The warmer a patch, the likelier it is to be hidden, within its picture.",
    }


def embedded(png: bytes, alt: str, name: str = "") -> Markup:
    """A picture that holds its file, its name below it; `alt` describes it to the blind."""
    data = base64.b64encode(png).decode()
    shown = Markup('<img alt="{}" src="data:image/png;base64,{}">').format(alt, data)
    return shown + Markup('<div class="small faint">{}</div>').format(name) if name else shown


def in_letters(policy: MaskingPolicy, x: Tensor, columns: Columns | None = None) -> str:
    """One picture x [1, T, d] for a terminal: a digit per patch, how many tenths of the time it is hidden.

    >>> from policylearn.config import MaskingConfig
    >>> from policylearn.masking.grid import Grid
    >>> from policylearn.policy.patches import random_patches
    >>> grid = Grid(2, 4, patch=1, channels=1)
    >>> print(in_letters(random_patches(grid, MaskingConfig(rate=0.5)), torch.zeros(1, 8, 1)))
    5 5 5 5
    5 5 5 5
    """
    grid = patch_field(policy.field).grid
    tenths = (probabilities(policy, x, columns)[0] * 10).clamp(max=9).floor().int().reshape(-1, grid.columns)
    return "\n".join(" ".join(map(str, row)) for row in tenths.tolist())
