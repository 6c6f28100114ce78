"""Weight masks as a file: safetensors, one bit per weight, with a manifest in its metadata."""

import json
import os
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from policylearn.config.strict import Strict
from policylearn.weight_masks.task import WeightMasks

MANIFEST = "policylearn_weight_masks"
"""Name of the manifest in the metadata."""
BITS, WEIGHT, BIAS = "bits.", "head.weight", "head.bias"
LARGEST = 1 << 31
"""Bytes that a file may have at most."""


class Manifest(Strict):
    """What is said of the tensors."""

    format: Literal[1] = 1
    labels: tuple[str, ...] = Field(min_length=2)
    shapes: dict[str, tuple[int, int]] = Field(min_length=1)
    encoder: dict[str, str] = Field(min_length=1)
    separator: int | None = Field(None, ge=0)


def save_masks(path: str | os.PathLike[str], masks: WeightMasks) -> Path:
    """Write the masks of a task; a file that was there is replaced when the new one is complete.

    Raises:
        ValueError: `load_masks` would not read them: shapes and types do not agree, or a number is not finite.
    """
    path = Path(path)
    shapes, encoder = dict(masks.shapes), dict(masks.encoder)
    manifest = Manifest(labels=masks.labels, shapes=shapes, encoder=encoder, separator=masks.separator)
    tensors = {BITS + name: bits for name, bits in masks.bits.items()} | {WEIGHT: masks.weight, BIAS: masks.bias}
    metadata = {MANIFEST: manifest.model_dump_json(exclude_none=True)}
    _built(metadata, tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    pending = path.with_name(path.name + ".partial")
    pending.write_bytes(save(tensors, metadata))
    os.replace(pending, path)
    return path


def load_masks(path: str | os.PathLike[str]) -> WeightMasks:
    """Read what `save_masks` wrote; what encoder it is for is checked when it meets one.

    Raises:
        ValueError: there is no such file, or it is damaged, of another format or of another kind.
    """
    if not os.path.isfile(path):
        raise ValueError(f"weight masks {path}: there is no such file")
    try:
        if os.path.getsize(path) > LARGEST:
            raise ValueError(f"it has more than {LARGEST} bytes")
        with safe_open(os.fspath(path), "pt") as file:
            metadata, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _built(metadata, tensors)
    except (OSError, SafetensorError, ValueError, RecursionError) as error:  # storage boundary
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"weight masks {path} cannot be read: {reason}; save them again") from error


def _built(metadata: dict[str, str], tensors: dict[str, Tensor]) -> WeightMasks:
    if MANIFEST not in metadata:
        raise ValueError("it holds no weight masks")
    manifest = _manifest(metadata[MANIFEST])
    expected = {BITS + name for name in manifest.shapes} | {WEIGHT, BIAS}
    if expected != tensors.keys():
        raise ValueError(f"tensor {min(expected ^ tensors.keys())!r} is missing, or is one too many")
    for name, (rows, columns) in manifest.shapes.items():
        if name not in manifest.encoder or rows < 1 or columns < 1:
            raise ValueError(f"matrix {name!r} of shape {[rows, columns]} is none of the encoder's")
        _expect(BITS + name, tensors[BITS + name], torch.uint8, [(rows * columns + 7) // 8])
    width, classes = tensors[WEIGHT].shape[-1] if tensors[WEIGHT].ndim else 0, len(manifest.labels)
    _expect(WEIGHT, tensors[WEIGHT], torch.float32, [classes, width])
    _expect(BIAS, tensors[BIAS], torch.float32, [classes])
    bits = {name: tensors[BITS + name] for name in manifest.shapes}
    head = tensors[WEIGHT], tensors[BIAS]
    return WeightMasks(bits, manifest.shapes, *head, manifest.labels, manifest.encoder, manifest.separator)


def _manifest(text: str) -> Manifest:
    content: Any = json.loads(text)
    version = content.get("format") if isinstance(content, dict) else None
    if type(version) is int and version > 1:
        raise ValueError(f"it has format {version}, this policylearn reads 1: upgrade it")
    return Manifest.model_validate(content)


def _expect(name: str, tensor: Tensor, dtype: torch.dtype, shape: list[int]) -> None:
    if tensor.dtype != dtype or list(tensor.shape) != shape:
        raise ValueError(f"tensor {name!r} is {tensor.dtype} {list(tensor.shape)}, not {dtype} {shape}")
    if tensor.is_floating_point() and not tensor.isfinite().all():
        raise ValueError(f"tensor {name!r} is not finite")
