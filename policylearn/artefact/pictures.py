"""A policy over pictures, read from its tensors, which are found to be what its settings promise."""

import torch
from torch import Tensor

from policylearn.artefact.tensors import check_kinds, check_logits, kinds_of_any, parse_tensors
from policylearn.config import MaskingConfig, PolicyConfig
from policylearn.masking.grid import Grid
from policylearn.masking.patches import PatchField
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import Scores, scorer_of

CODEBOOK, SHAPE, SCALE = "segmenter.codebook", "segmenter.shape", "segmenter.scale"
LARGEST = 1 << 14
"""Pixels, channels, frames or zones that a picture may have to a side: what is more was never meant."""


def read_picture_policy(data: bytes, config: PolicyConfig, masking: MaskingConfig) -> MaskingPolicy:
    """The policy of these settings.

    Raises:
        ValueError: the file is damaged, or a tensor is missing, of another kind or shape, or holds what it never would.
    """
    tensors = parse_tensors(data)
    tensors.setdefault(SCALE, torch.tensor([0.5, 0.5]))  # earlier versions did not keep it
    grid, zones = _shape(tensors)
    size = tensors[CODEBOOK].shape[0] * zones**2 if CODEBOOK in tensors and tensors[CODEBOOK].ndim else 0
    features = tensors["network.features"].shape[-1] if tensors.get("network.features", torch.zeros(())).ndim else 0
    words = tensors["scores.lexicon"].shape[0] if tensors.get("scores.lexicon", torch.zeros(())).ndim else 0
    field = {
        CODEBOOK: (torch.float32, (size // zones**2, grid.depth)),
        SHAPE: (torch.int64, (7,)),
        SCALE: (torch.float32, (2, grid.channels) if tensors[SCALE].ndim > 1 else (2,)),
    }
    check_kinds(tensors, kinds_of_any(config, size, words, features) | field)
    if wrong := [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise ValueError(f"tensor {min(wrong)!r} holds what it never would")
    if not bool((tensors[SCALE][1] > 0).all()):
        raise ValueError(f"tensor {SCALE!r} holds what it never would")
    check_logits(tensors, config)
    return _rebuilt(tensors, config, PatchField(tensors[CODEBOOK], grid, masking, zones, *tensors[SCALE].tolist()))


def _shape(tensors: dict[str, Tensor]) -> tuple[Grid, int]:
    """How pictures are cut, and the zones."""
    shape = tensors.get(SHAPE)
    if shape is None or shape.dtype != torch.int64 or shape.shape != (7,):
        raise ValueError(f"tensor {SHAPE!r} is missing, or of another kind")
    if not bool(((shape >= 1) & (shape <= LARGEST)).all()):
        raise ValueError(f"tensor {SHAPE!r} holds what it never would")
    return Grid.of(shape[:6]), int(shape[6])


def _rebuilt(tensors: dict[str, Tensor], config: PolicyConfig, field: PatchField) -> MaskingPolicy:
    """A policy of the right shape; its tensors are then loaded as they are."""
    types, words, lexicon = (tensors[f"scores.{name}"] for name in ("types", "words", "lexicon"))
    scores = {scorer_of(name): Scores(types[h], words[h]) for h, name in enumerate(sorted(config.prior))}
    features = tensors.get("network.features", torch.zeros(field.size, 0))
    policy = MaskingPolicy(config, scores, lexicon, features, field)
    policy.load_tensors(tensors)
    return policy.eval()
