"""What a parameter of a model is, by the module that holds it and not by its name."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

SAMPLE = 1024
"""Numbers of a parameter by which two models are told apart."""


def sample_hash(model: nn.Module) -> str:
    """SHA-256 of some numbers of every parameter, evenly spread: whether two models are one, at no cost to speak of."""
    digest = hashlib.sha256()
    for name, p in model.named_parameters():
        picked = p.detach().reshape(-1)[:: max(1, p.numel() // SAMPLE)]
        digest.update(f"{name} {p.dtype} {tuple(p.shape)}\n".encode())
        digest.update(picked.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def owners(model: nn.Module) -> Iterator[tuple[str, Tensor, nn.Module]]:
    """Every parameter once, in the order of `named_parameters`: its name, itself, and the module that holds it. A tied
    one is held by a table of embeddings, if by any."""
    modules = dict(model.named_modules())
    tables: dict[int, nn.Module] = {
        id(module.weight): module for module in modules.values() if isinstance(module, nn.Embedding)
    }
    for name, p in model.named_parameters():
        held = modules[name.rpartition(".")[0]]
        yield name, p, tables.get(id(p)) or held


def is_embedding(owner: nn.Module) -> bool:
    """Whether a module is a table that is looked up: of tokens, positions (relative ones as well) or kinds of text. A
    linear map of what was looked up is none."""
    return isinstance(owner, nn.Embedding)


def carriers(model: nn.Module, parameters: str) -> frozenset[str]:
    """Names of the parameters that the outer gradient may flow through.

    "all" there are, "matrices" (no norms and biases), or "layers" (matrices without embeddings of tokens and positions,
    nor an output head that is tied to them). AdamW's preconditioner divides by what MLM gradients have been; of
    most embeddings that is next to nothing, and what flows through them outweighs everything else.

    >>> model = nn.Sequential(nn.Embedding(5, 2), nn.Linear(2, 2), nn.LayerNorm(2))
    >>> [sorted(carriers(model, which)) for which in ("layers", "matrices")]
    [['1.weight'], ['0.weight', '1.weight']]
    """
    return frozenset(
        name
        for name, p, owner in owners(model)
        if parameters == "all" or (p.ndim > 1 and (parameters == "matrices" or not is_embedding(owner)))
    )
