"""Pictures from files: a folder of them, a folder per class, arrays (.npz, .npy), or a data set saved to disk.

All are held in memory, a byte per pixel and channel. They must be of the size that the model asks for: nothing is cut
or scaled here, for what a picture shows at the edges is not ours to drop.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from policylearn.config import PatchesConfig
from policylearn.data.hub import DATASETS, is_saved, saved_rows
from policylearn.masking.grid import Grid, region
from policylearn.masking.patches import PerChannel, scale_of
from policylearn.messages.quote import some

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
NEEDS = "reading picture files needs Pillow: pip install 'policylearn[vision]'"
SET_SIZE = "resize or convert it, or set image_size and num_channels of model.architecture"
BOXES = "region"
"""Column, or array, of the boxes of a picture."""
FORMS = (
    ((3, 4), "[pictures, height, width] or [pictures, height, width, channels]"),
    ((1,), "[pictures], a class for each, as argmax(1) does of a number per class"),
    ((2, 3), "[pictures, boxes, 4]"),
)
"""Dimensions of the arrays of pictures, labels and boxes, and the same in words."""
Found = Iterator[tuple[np.ndarray, Any, Any, str]]
"""Pictures [height, width] or [height, width, channels], their labels and boxes or None, and what to call each in a
message."""


@dataclass(frozen=True)
class PatchRows:
    """Pictures as rows of patches: what `TokenRows` is to texts.

    Attributes:
        pixels: [N, channels, height, width] uint8.
        grid: how they are cut.
        mean, std: see `PatchesConfig`; of all channels, or one for each.
        regions: [N, T] float32, how much of a patch the boxes of a picture cover, NaN where it has none; None: no
            picture has.
    """

    pixels: np.ndarray
    grid: Grid
    mean: PerChannel = 0.5
    std: PerChannel = 0.5
    cut: int = 0
    regions: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: Iterable[int]) -> "PatchRows":
        """Some of them, in the order given."""
        picked = list(rows)
        regions = None if self.regions is None else self.regions[picked]
        return PatchRows(self.pixels[picked], self.grid, self.mean, self.std, regions=regions)

    def contents(self) -> Iterator[bytes]:
        """All that they hold, for keys."""
        yield self.pixels.tobytes()
        yield f"{self.grid} {self.mean} {self.std}".encode()
        if self.regions is not None:
            yield self.regions.tobytes()

    def spread(self, most: int) -> np.ndarray:
        """Numbers of `most` rows, evenly spaced from the first to the last; of all rows if there are no more."""
        return np.linspace(0, len(self) - 1, min(most, len(self))).astype(np.int64)

    def lengths(self, rows: Iterable[int]) -> list[int]:
        """Patches of the given rows."""
        return [self.grid.count for _ in rows]

    def batch(self, rows: Iterable[int], pad_id: int = 0) -> tuple[Tensor, Tensor]:
        """(x [B, T, d] float32, real [B, T], all True) of the given rows.

        >>> rows = PatchRows(np.full((2, 1, 4, 4), 255, np.uint8), Grid(4, 4, patch=2, channels=1))
        >>> rows.batch([0, 1])[0].shape, float(rows.batch([0])[0].mean())
        (torch.Size([2, 4, 4]), 1.0)
        """
        pixels = torch.from_numpy(self.pixels[[int(row) for row in rows]]).float() / 255
        mean, std = scale_of(self.mean, self.std, self.grid.channels).reshape(2, -1, 1, 1)
        x = self.grid.patches((pixels - mean) / std)
        return x, torch.ones(x.shape[:2], dtype=torch.bool)

    def values(self, rows: Iterable[int], width: int = 0) -> dict[str, Tensor]:
        """Scores that come with the given rows, [B, T]: those of their boxes, if there are any."""
        return {} if self.regions is None else {BOXES: torch.from_numpy(self.regions[[int(row) for row in rows]])}


class Pictures(NamedTuple):
    """What a place holds: pictures, their labels (None where there are none), and what to call each."""

    rows: PatchRows
    labels: list[Any]
    names: list[str]


def read_pictures(
    path: str, config: PatchesConfig, grid: Grid, key: str, label: str, limit: int | None = None, mend: str = SET_SIZE
) -> Pictures:
    """All pictures of a place, or the first `limit` of them.

    Args:
        path: a picture; a folder of them, or of folders named after classes; an .npz or .npy file of uint8 arrays
            [N, height, width] or [N, height, width, channels]; or a folder of `Dataset.save_to_disk`. In the latter two
            a column "region" may have boxes, as `region` takes them.
        config: the section [patches].
        grid: of what size they have to be.
        key: the setting that names the place.
        label: column of the label.
        mend: what is to be done about one of another size, for a message.

    Raises:
        ValueError: naming file and setting, where one cannot be read or is of another size or number of channels, or
            mean or std are.
    """
    scale_of(config.mean, config.std, grid.channels)  # which refuses what does not go with the channels
    pixels, labels, regions, names = [], [], [], []
    for picture, its, boxes, where in islice(_opened(Path(path), config, key, label), limit):
        pixels.append(_checked(picture, grid, f"{key} {where}", mend))
        labels.append(its)
        regions.append(_covered(boxes, grid, f"{key} {where}"))
        names.append(where)
    if not pixels:
        raise ValueError(f"{key} {path} holds no picture: files end with {', '.join(SUFFIXES)}, .npz or .npy")
    covered = None if all(np.isnan(one).all() for one in regions) else np.stack(regions)
    return Pictures(PatchRows(np.stack(pixels), grid, config.mean, config.std, regions=covered), labels, names)


def _covered(boxes: Any, grid: Grid, where: str) -> np.ndarray:
    """Of `region`; NaN [T] without boxes."""
    if boxes is None:
        return np.full(grid.count, np.nan, dtype=np.float32)
    try:
        return region(boxes, grid).numpy()
    except (ValueError, TypeError) as error:  # as users have them
        raise ValueError(f"{where}, column {BOXES!r}: {error}") from error


def _opened(path: Path, config: PatchesConfig, key: str, label: str) -> Found:
    if not path.exists():
        raise ValueError(f"{key} {path} does not exist")
    if path.suffix.lower() in SUFFIXES and path.is_file():
        yield _read_picture(path, f"{key} {path}"), None, None, str(path)
    elif path.is_file():
        yield from _of_arrays(path, config.image, key, label)
    elif is_saved(path):
        yield from _of_rows(saved_rows(path, key), path, config.image, key, label)
    elif (path / DATASETS).is_file():
        raise ValueError(f"{key} {path} is a data set of several splits: name the folder of one of them")
    else:
        yield from _of_files(path, key)


def _of_arrays(path: Path, column: str, key: str, label: str) -> Found:
    try:
        found = np.load(path, allow_pickle=False)
        arrays: Mapping[str, np.ndarray] = {column: found} if isinstance(found, np.ndarray) else dict(found)
    except Exception as error:  # storage boundary: a damaged archive fails in any way
        raise ValueError(f"{key} {path} cannot be read as arrays: {error}") from error
    if column not in arrays:
        raise ValueError(f"{key} {path} has {some(arrays)} and no array {column!r}: set patches.image, or name it so")
    pictures, told = arrays[column], [_flat(arrays.get(label)), arrays.get(BOXES)]
    for name, found, (ndims, form) in zip((column, label, BOXES), (pictures, *told), FORMS, strict=True):
        if found is not None and found.ndim not in ndims:
            raise ValueError(f"{key} {path}: array {name!r} is of shape {list(found.shape)}, make it {form}")
        if found is not None and len(found) != len(pictures):
            raise ValueError(f"{key} {path} has {len(pictures)} pictures and {len(found)} of {name!r}")
    labels, boxes = ([None] * len(pictures) if one is None else one for one in told)
    for i, (picture, its) in enumerate(zip(pictures, labels, strict=True)):
        yield picture, its.item() if isinstance(its, np.generic) else its, boxes[i], f"{path}, picture {i}"


def _flat(labels: np.ndarray | None) -> np.ndarray | None:
    """[N] of [N, 1], as CIFAR and MedMNIST have classes."""
    return labels[:, 0] if labels is not None and labels.shape[1:] == (1,) else labels


def _of_rows(rows: Iterable[Mapping[str, Any]], path: Path, column: str, key: str, label: str) -> Found:
    for i, row in enumerate(rows):
        if column not in row:
            raise ValueError(f"{key} {path} has columns {some(row)} and no {column!r}: set patches.image")
        where, picture = f"{path}, row {i}", row[column]
        if picture is None:
            raise ValueError(f"{key} {where} has no picture in column {column!r}: take the row out")
        pixels = _read_picture(picture, f"{key} {where}") if hasattr(picture, "convert") else _as_bytes(picture)
        yield pixels, row.get(label), row.get(BOXES), where


def _as_bytes(picture: Any) -> np.ndarray:
    """An array; of lists, in which `datasets` gives arrays of any type, one of bytes where all numbers are some."""
    found = np.asarray(picture)
    small = (
        isinstance(picture, list) and found.dtype.kind in "iu" and found.size and 0 <= found.min() <= found.max() < 256
    )
    return found.astype(np.uint8) if small else found


def _of_files(folder: Path, key: str) -> Found:
    """Files in the order of their names; the class of one is the first folder inside of this one that it is in."""
    try:
        files = [file for file in files_in(folder) if file.suffix.lower() in SUFFIXES]
    except ValueError as error:
        raise ValueError(f"{key} {error}") from None
    for file in files:
        inside = file.relative_to(folder).parts
        yield _read_picture(file, f"{key} {file}"), inside[0] if len(inside) > 1 else None, None, str(file)


def files_in(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All files of a folder but hidden ones, in the order of their names. Links are followed, unless they lead back
    to a folder `above`, in which this one is. ValueError: a folder cannot be read."""
    inside = above | {folder.resolve()}
    try:
        there = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:  # storage boundary
        raise ValueError(f"{folder} cannot be read: {error.strerror}; allow it, or take it out") from error
    for path in there:
        if not path.is_dir():
            yield path
        elif path.resolve() not in inside:
            yield from files_in(path, inside)


def unread(path: str) -> str | None:
    """What to say of files that are in a folder of pictures and are not read; None: there are none."""
    place = Path(path)
    if not place.is_dir() or is_saved(place):
        return None
    try:
        others = [file.name for file in files_in(place) if file.suffix.lower() not in SUFFIXES]
    except ValueError:  # which is said with its setting when they are read
        return None
    hidden = [folder.name for folder in sorted(place.glob(".*/")) if _holds_pictures(folder)]
    reasons = {"their endings are others": others, "their names begin with a dot": hidden}
    said = [f"for {reason}: {some(names)}" for reason, names in reasons.items() if names]
    return f"not read in {path}, {'; '.join(said)}" if said else None


def _holds_pictures(folder: Path) -> bool:
    try:
        return any(file.suffix.lower() in SUFFIXES for file in files_in(folder))
    except ValueError:  # a hidden folder may be the system's, and is not ours to read
        return False


def _read_picture(given: Any, where: str) -> np.ndarray:
    """Pixels of a file, or of a picture of Pillow."""
    try:
        from PIL import Image, ImageOps  # here only: arrays need no Pillow
    except ModuleNotFoundError as error:
        raise ValueError(f"{where}: {NEEDS}") from error
    try:
        with Image.open(given) if isinstance(given, Path) else given as opened:
            if (frames := getattr(opened, "n_frames", 1)) > 1:
                raise ValueError(f"it has {frames} pictures")
            if opened.mode.startswith(("I", "F")):
                raise ValueError(f"its pixels are of mode {opened.mode}, and not of 8 bits")
            picture = ImageOps.exif_transpose(opened)
            if picture.has_transparency_data and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
                raise ValueError("it is transparent in places, and has no colour there")
            gray = picture.mode in ("1", "L", "LA")
            return np.asarray(picture.convert("L" if gray else "RGB"))
    except Exception as error:  # storage boundary: a broken file fails in any way
        raise ValueError(f"{where} is no picture that can be read: {error}; take it out, or save it anew") from error


def _checked(picture: np.ndarray, grid: Grid, where: str, mend: str) -> np.ndarray:
    """[channels, height, width] uint8."""
    if picture.dtype != np.uint8:
        raise ValueError(f"{where} holds {picture.dtype} and not uint8: save pixels from 0 to 255")
    deep = picture[..., None] if picture.ndim == 2 else picture
    if deep.shape != (wanted := (grid.height, grid.width, grid.channels)):
        raise ValueError(
            f"{where} is {' × '.join(map(str, deep.shape))} and not {' × '.join(map(str, wanted))} (height × width × "
            f"channels): {mend}"
        )
    return deep.transpose(2, 0, 1)
