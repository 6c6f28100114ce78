"""Pictures as rows of patches, and back."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """How pictures, or films, are cut into T patches of d numbers, row by row (and of films tube by tube).

    Attributes:
        height, width: of a picture, in pixels.
        patch: side of a patch, in pixels.
        channels: of a picture.
        frames: of a film; 1: pictures.
        tubelet: frames of a patch.

    Raises:
        ValueError: patches do not fill the picture.

    >>> Grid(28, 28, patch=4, channels=1).count, Grid(28, 28, patch=4, channels=1).depth
    (49, 16)
    >>> Grid(28, 28, patch=5, channels=1)
    Traceback (most recent call last):
    ValueError: patches.size 5 does not divide pictures of 28 × 28: set it to one of 1, 2, 4, 7, 14, 28
    """

    height: int
    width: int
    patch: int
    channels: int = 3
    frames: int = 1
    tubelet: int = 1

    def __post_init__(self) -> None:
        shorter = min(self.height, self.width)
        fitting = [n for n in range(1, shorter + 1) if self.height % n == 0 and self.width % n == 0]
        if self.patch not in fitting:
            raise ValueError(
                f"patches.size {self.patch} does not divide pictures of {self.height} × {self.width}: "
                f"set it to one of {', '.join(map(str, fitting))}"
            )
        if self.frames % self.tubelet:
            raise ValueError(f"films of {self.frames} frames are not cut into tubes of {self.tubelet}")

    @property
    def rows(self) -> int:
        """Patches one below the other."""
        return self.height // self.patch

    @property
    def columns(self) -> int:
        """Patches side by side."""
        return self.width // self.patch

    @property
    def layers(self) -> int:
        """Patches one after the other in time."""
        return self.frames // self.tubelet

    @property
    def count(self) -> int:
        """T."""
        return self.layers * self.rows * self.columns

    @property
    def depth(self) -> int:
        """d."""
        return self.tubelet * self.patch**2 * self.channels

    def patches(self, pixels: Tensor) -> Tensor:
        """[B, T, d] of pictures [B, channels, height, width] or films [B, frames, channels, height, width]; the numbers
        of a patch in the order of `ViTMAEForPreTraining.patchify`, channels last.

        Raises:
            ValueError: they are of another size or number of channels.
        """
        films = pixels[:, None] if pixels.ndim == 4 else pixels
        wanted = (self.frames, self.channels, self.height, self.width)
        if tuple(films.shape[1:]) != wanted:
            found = " × ".join(map(str, pixels.shape[1:]))
            raise ValueError(
                f"pictures are {found} and not {' × '.join(map(str, wanted[-pixels.ndim + 1 :]))} "
                "(channels × height × width): resize or convert them, or set what the policy is made for"
            )
        p, t = self.patch, self.tubelet
        cut = films.reshape(len(films), self.layers, t, self.channels, self.rows, p, self.columns, p)
        return cut.permute(0, 1, 4, 6, 2, 5, 7, 3).reshape(len(films), self.count, self.depth)

    def pixels(self, x: Tensor) -> Tensor:
        """Undo `patches`.

        >>> grid = Grid(4, 6, patch=2, channels=3)
        >>> pictures = torch.rand(5, 3, 4, 6)
        >>> torch.equal(grid.pixels(grid.patches(pictures)), pictures)
        True
        """
        p, t = self.patch, self.tubelet
        cut = x.reshape(len(x), self.layers, self.rows, self.columns, t, p, p, self.channels)
        films = cut.permute(0, 1, 4, 7, 2, 5, 3, 6).reshape(len(x), self.frames, self.channels, self.height, self.width)
        return films if self.frames > 1 else films[:, 0]

    def places(self) -> Tensor:
        """Row and column of every patch as shares of the picture, at its middle; [T, 2]."""
        rows = (torch.arange(self.rows) + 0.5) / self.rows
        columns = (torch.arange(self.columns) + 0.5) / self.columns
        return torch.cartesian_prod(rows, columns).repeat(self.layers, 1)

    def zones(self, side: int) -> Tensor:
        """Which of side × side fields of the picture every patch is in, [T] int64."""
        row, column = (self.places() * side).long().T
        return row * side + column

    def tensor(self) -> Tensor:
        """All six numbers, as `Grid.of` reads them."""
        return torch.tensor([self.height, self.width, self.patch, self.channels, self.frames, self.tubelet])

    @classmethod
    def of(cls, numbers: Tensor) -> "Grid":
        """Undo `tensor`."""
        return cls(*numbers.tolist())


def grid_of(config: Any) -> Grid:
    """How a model of this config cuts pictures or films. ValueError: into patches that do not fill them, are
    no squares, or overlap."""
    size = config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    stride = getattr(config, "patch_stride", config.patch_size)
    patch, *others = {*_sides(config.patch_size), *_sides(stride)}
    if others:
        raise ValueError(
            f"the model cuts patches of {config.patch_size}, one every {stride} pixels: take one whose patches are "
            "squares side by side"
        )
    frames, tubelet = getattr(config, "num_frames", 1), getattr(config, "tubelet_size", 1)
    return Grid(height, width, patch, config.num_channels, frames, tubelet)


def _sides(size: Any) -> list[int]:
    return [size] if isinstance(size, int) else [*size]


def region(boxes: Any, grid: Grid) -> Tensor:
    """How much of every patch boxes cover: 1 where all, 0 where nothing; [T].

    Args:
        boxes: [N, 4] left, top, right, bottom as shares of width and height, overlaps counted once; N may be 0.
        grid: how the picture is cut.

    Raises:
        ValueError: they are no such boxes.

    >>> region([[0.0, 0.0, 0.5, 1.0]], Grid(4, 4, patch=2)).reshape(2, 2)
    tensor([[1., 0.],
            [1., 0.]])
    """
    found = torch.as_tensor(boxes, dtype=torch.float32)
    if found.numel() % 4:
        raise ValueError(f"boxes {found.tolist()!s:.80} are no lists of four numbers: give left, top, right and bottom")
    found = found.reshape(-1, 4)
    ordered = (found[:, :2] <= found[:, 2:]).all() and (found >= 0).all() and (found <= 1).all()
    if not bool(ordered):
        raise ValueError(
            f"boxes {found.tolist()!s:.80} are not left ≤ right, top ≤ bottom as shares of width and height, from 0 to "
            "1: divide pixels by the size of the picture"
        )
    y, x = ((torch.arange(n) + 0.5) / n for n in (grid.height, grid.width))
    rows = (y >= found[:, 1:2]) & (y < found[:, 3:4])
    columns = (x >= found[:, 0:1]) & (x < found[:, 2:3])
    inside = (rows[:, :, None] & columns[:, None, :]).any(0).float()
    shares = inside.reshape(grid.rows, grid.patch, grid.columns, grid.patch).mean((1, 3))
    return shares.flatten().repeat(grid.layers)
