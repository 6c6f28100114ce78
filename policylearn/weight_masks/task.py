"""What a task keeps: packed masks, a head, and which encoder they are for."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from policylearn.models.model import InnerModel
from policylearn.weight_masks.classifier import MaskedClassifier
from policylearn.weight_masks.masks import masked, pack, unpack
from policylearn.weight_masks.selection import prefix


@dataclass(frozen=True)
class WeightMasks:
    """A task on top of an encoder that many tasks share.

    Attributes:
        bits: packed masks by name of the matrix in the encoder (not in the masked language model), uint8.
        shapes: of these matrices, [out, in].
        weight, bias: the head, [C, d] and [C].
        labels: C class names.
        encoder: `fingerprint` of the encoder.
    """

    bits: Mapping[str, Tensor]
    shapes: Mapping[str, tuple[int, int]]
    weight: Tensor
    bias: Tensor
    labels: tuple[str, ...]
    encoder: Mapping[str, str]

    def masks(self, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """M by name, bool [out, in]."""
        return {name: unpack(self.bits[name], torch.Size(shape)).to(device) for name, shape in self.shapes.items()}

    def weights(self, model: InnerModel) -> dict[str, Tensor]:
        """All parameters of an encoder under these masks, by name in `model`, which stays as it is.

        Raises:
            ValueError: it is another encoder.
        """
        self.check(model)
        parameters = {name: p.detach() for name, p in model.named_parameters()}
        device = next(iter(parameters.values())).device
        return masked(parameters, {prefix(model) + name: mask for name, mask in self.masks(device).items()})

    def check(self, model: InnerModel) -> None:
        """Raises ValueError if the encoder of `model` is not the one that the masks were learned on."""
        found = fingerprint(model.mlm.base_model)
        for name, digest in self.encoder.items():
            if found.get(name) != digest:
                what = "has another shape or other values" if name in found else "is missing"
                raise ValueError(
                    f"these weight masks were learned on another encoder: here {name} {what}; "
                    "load the model that they were learned on"
                )

    @property
    def nbytes(self) -> int:
        """Of masks and head."""
        return sum(tensor.nbytes for tensor in (*self.bits.values(), self.weight, self.bias))


def learned_masks(classifier: MaskedClassifier, labels: list[str]) -> WeightMasks:
    """What of a classifier is the task's."""
    start, found = len(prefix(classifier.encoder)), classifier.masks()
    return WeightMasks(
        {name[start:]: pack(mask) for name, mask in found.items()},
        {name[start:]: (mask.shape[0], mask.shape[1]) for name, mask in found.items()},
        classifier.weight.detach().cpu().clone(memory_format=torch.contiguous_format),
        classifier.bias.detach().cpu().clone(),
        tuple(labels),
        fingerprint(classifier.encoder.mlm.base_model),
    )


def fingerprint(base: nn.Module) -> dict[str, str]:
    """Start of the SHA-256 of every parameter, shape included, by name; a pooler, which is not used, is left out.

    >>> list(fingerprint(nn.Linear(2, 1, bias=False)))
    ['weight']
    """
    return {name: _digest(p) for name, p in base.named_parameters() if not name.startswith("pooler.")}


def _digest(p: Tensor) -> str:
    values = np.ascontiguousarray(p.detach().float().cpu().numpy())
    return hashlib.sha256(f"{values.shape}".encode() + values.tobytes()).hexdigest()[:16]
