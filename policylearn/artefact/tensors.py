"""The tensors of a policy: read, and found to be what its settings promise before anything is built from them."""

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from policylearn.config import PolicyConfig
from policylearn.masking.vocabulary import ANY, SAME, SPACE
from policylearn.policy.networks import network

Kind = tuple[torch.dtype, tuple[int, ...]]
NETWORK = "network."
"""Begins the names of the tensors of what was learned."""
LONGEST_COLLOCATION = 8
LARGEST_LOGIT = 1e30
"""Far from where float32 ends, so that sums of a few such numbers are finite."""


def read_tensors(data: bytes, config: PolicyConfig) -> dict[str, Tensor]:
    """The tensors of a policy of these settings; safetensors sees to it that they are as large as the file.

    Raises:
        ValueError: the file is damaged, or a tensor is missing, of another kind or shape, or holds what it never would.
    """
    tensors = parse_tensors(data)
    check_kinds(tensors, kinds(tensors, config))
    _check_values(tensors, config)
    check_logits(tensors, config)
    return tensors


def parse_tensors(data: bytes) -> dict[str, Tensor]:
    """What a file holds. ValueError: it is damaged."""
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:  # storage boundary
        raise ValueError(f"it is no safetensors file: {error}") from error


def check_logits(tensors: dict[str, Tensor], config: PolicyConfig) -> None:
    """Refuse tensors of which a logit may come to anything. ValueError: saying how large one may become."""
    if not (largest := largest_logit(tensors, config)) < LARGEST_LOGIT:
        raise ValueError(f"its logits may become as large as {largest:.0e}")


def check_kinds(tensors: dict[str, Tensor], expected: dict[str, Kind]) -> None:
    """Refuse tensors that are missing, too many, or of another type or shape. ValueError: naming the first."""
    if tensors.keys() != expected.keys():
        raise ValueError(f"tensor {min(tensors.keys() ^ expected.keys())!r} is missing, or is one too many")
    for name, (dtype, shape) in expected.items():
        found = tensors[name]
        if found.dtype != dtype or tuple(found.shape) != shape:
            raise ValueError(f"tensor {name!r} is {found.dtype} {list(found.shape)}, not {dtype} {list(shape)}")


def kinds(tensors: dict[str, Tensor], config: PolicyConfig) -> dict[str, Kind]:
    """Type and shape of every tensor of a policy of these settings, over V types, W words, C collocations, F features.

    Args:
        tensors: those found, of which some say what V, W, C and F are.
        config: what is learned, and the H scorers of the prior.
    """
    types, words, collocations, features = (
        tensors[name].shape[-1] if name in tensors and tensors[name].ndim else 0
        for name in ("segmenter.special", "scores.lexicon", "segmenter.collocations", "network.features")
    )
    whole = torch.int64
    found = kinds_of_any(config, types, words, features) | {
        "segmenter.special": (torch.bool, (types,)),
        "segmenter.opens": (torch.bool, (types,)),
        "segmenter.first": (torch.int8, (types,)),
        "segmenter.last": (torch.int8, (types,)),
        "segmenter.collocations": (whole, (collocations,)),
        "segmenter.longest": (whole, ()),
    }
    return found


def kinds_of_any(config: PolicyConfig, types: int, words: int, features: int) -> dict[str, Kind]:
    """Those of a policy over whatever field, without the field's own."""
    scorers, real, whole = len(config.prior), torch.float32, torch.int64
    found: dict[str, Kind] = {
        "strengths": (real, (scorers,)),
        "trust": (real, (scorers,)),
        "scores.types": (real, (scorers, types)),
        "scores.words": (real, (scorers, words)),
        "scores.lexicon": (whole, (words,)),
    }
    learned = network(config).shapes(config, types, features)
    return found | {f"{NETWORK}{name}": (real, shape) for name, shape in learned.items()}


def _check_values(tensors: dict[str, Tensor], config: PolicyConfig) -> None:
    strengths = torch.tensor([config.prior[name] for name in sorted(config.prior)], dtype=torch.float32)
    first, last, longest = (tensors[f"segmenter.{name}"] for name in ("first", "last", "longest"))
    sound = {
        "strengths": torch.equal(tensors["strengths"], strengths),
        "segmenter.first": bool(((first >= ANY) & (first <= SPACE)).all()),
        "segmenter.last": bool(((last >= SAME) & (last <= SPACE + 1)).all()),
        "segmenter.longest": 0 <= int(longest) <= LONGEST_COLLOCATION,
        "scores.words": not bool(tensors["scores.words"].isinf().any()),
    }
    for name in ("segmenter.special", "segmenter.opens"):
        sound[name] = bool((tensors[name].view(torch.uint8) <= 1).all())
    for name in ("scores.lexicon", "segmenter.collocations"):  # they are searched by halving
        sound[name] = bool((tensors[name].diff() > 0).all())
    for name, tensor in tensors.items():
        sound.setdefault(name, bool(torch.isfinite(tensor).all()))
    if wrong := [name for name, good in sound.items() if not good]:
        raise ValueError(f"tensor {min(wrong)!r} holds what it never would")


def largest_logit(tensors: dict[str, Tensor], config: PolicyConfig) -> float:
    """A bound on |logit| for any text, and on whatever is computed on the way to one; infinite or NaN if there is none.

    Sums are bounded by sums of absolute values, layer by layer, in float64.
    """
    size = {name: tensor.double().abs() for name, tensor in tensors.items() if tensor.dtype == torch.float32}
    trusted = size["strengths"] * tensors["trust"].double().exp()
    scores = torch.cat([size["scores.types"], size["scores.words"].nan_to_num(nan=0.0)], 1)
    # Ranks are logarithms of shares of a text: 100 stands for any text there may be.
    bounds = [trusted.sum(), (trusted * scores.amax(1).clamp(min=100.0)).sum()] if scores.numel() else [torch.zeros(())]
    learned = {name.removeprefix(NETWORK): tensor for name, tensor in size.items() if name.startswith(NETWORK)}
    return float(sum([*bounds, *network(config).bounds(learned)]))
