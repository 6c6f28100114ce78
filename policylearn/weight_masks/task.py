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

CONFIG = "config."
SETTINGS = ("hidden_act", "hidden_activation", "activation", "num_attention_heads", "layer_norm_eps", "norm_eps")
"""Of a config: what an encoder of the same parameters does with them. Files that are older say nothing of it."""


@dataclass(frozen=True)
class WeightMasks:
    """A task on top of an encoder that many tasks share.

    Attributes:
        bits: packed masks by name of the matrix in the encoder (not in the masked language model), uint8.
        shapes: of these matrices, [out, in].
        weight, bias: the head, [C, d] and [C].
        labels: C class names.
        encoder: `fingerprint` of the encoder.
        separator: stands between the texts of pairs, if the encoder is told which text a token is of; see
            `InnerModel.read_pairs`. None: texts are read as the encoder is set, as those of older files are.
    """

    bits: Mapping[str, Tensor]
    shapes: Mapping[str, tuple[int, int]]
    weight: Tensor
    bias: Tensor
    labels: tuple[str, ...]
    encoder: Mapping[str, str]
    separator: int | None = None

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
        """Raises ValueError if the encoder of `model` is not the one that the masks were learned on, or they have not
        the shapes of its matrices."""
        if not isinstance(model, InnerModel):
            raise ValueError(
                f"the encoder is a {type(model).__name__}: give InnerModel(model), of policylearn.models.model"
            )
        base = model.mlm.base_model
        found, parameters = fingerprint(base), dict(base.named_parameters())
        for name, digest in self.encoder.items():
            if found.get(name) != digest:
                raise ValueError(
                    f"these weight masks were learned on another encoder: here {name} "
                    f"{_difference(found.get(name), digest, parameters.get(name))}"
                )
        for name, shape in self.shapes.items():
            if name not in parameters or tuple(parameters[name].shape) != tuple(shape):
                own = list(parameters[name].shape) if name in parameters else "none of that name"
                raise ValueError(f"the weight mask of {name} has shape {list(shape)}, the encoder {own}: learn it anew")
        width = getattr(base.config, "hidden_size", self.weight.shape[-1])
        if self.weight.shape[-1] != width:
            raise ValueError(
                f"the head of these weight masks has width {self.weight.shape[-1]}, the encoder {width}: learn it anew"
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
        classifier.encoder.separator,
    )


def fingerprint(base: nn.Module) -> dict[str, str]:
    """Start of the SHA-256 of every parameter, shape included, by name; a pooler, which is not used, is left out. And
    what else parameters of these shapes may be put to, as the config has it.

    >>> list(fingerprint(nn.Linear(2, 1, bias=False)))
    ['weight']
    """
    config = getattr(base, "config", None)
    settings = {CONFIG + name: str(found) for name in SETTINGS if (found := getattr(config, name, None)) is not None}
    return {name: _digest(p) for name, p in base.named_parameters() if not name.startswith("pooler.")} | settings


def _difference(found: str | None, wanted: str, parameter: Tensor | None) -> str:
    """What is wrong with one of a fingerprint, and what to do."""
    usual = "load the model that they were learned on"
    if found is None:
        return f"is missing; {usual}"
    if parameter is None:
        return f"is {found}, and not {wanted}; {usual}"
    if parameter.dtype != torch.float32:
        return f"is of {parameter.dtype}, in which values are others; load the model with dtype=torch.float32"
    return f"has another shape or other values; {usual}"


def _digest(p: Tensor) -> str:
    values = np.ascontiguousarray(p.detach().float().cpu().numpy())
    return hashlib.sha256(f"{values.shape}".encode() + values.tobytes()).hexdigest()[:16]
