"""Which matrices of an encoder take part: the weights of the linear maps in its layers, whatever they are called."""

import torch
from torch import Tensor, nn

from policylearn.models.model import InnerModel


def layers(encoder: nn.Module) -> list[nn.ModuleList]:
    """The modules of every layer of an encoder: of all module lists the one with most parameters, and those that lie
    beside it and are as long, as XLM keeps the parts of a layer apart.

    Raises:
        ValueError: there is none.

    >>> maps, norms = (nn.ModuleList(made(2) for _ in range(3)) for made in (nn.Identity, nn.Softmax))
    >>> [[*layer] for layer in layers(nn.ModuleDict({"maps": maps, "norms": norms, "few": nn.ModuleList([])}))][0]
    [Identity(), Softmax(dim=2)]
    """
    stacks = {name: module for name, module in encoder.named_modules() if isinstance(module, nn.ModuleList)}
    if not stacks:
        kind = type(encoder).__name__
        raise ValueError(f"{kind} has no list of layers, so there is nothing weight masks could act on")
    largest = max(stacks, key=lambda name: sum(p.numel() for p in stacks[name].parameters()))
    beside, count = largest.rpartition(".")[0], len(stacks[largest])
    of_layers = [stack for name, stack in stacks.items() if name.rpartition(".")[0] == beside and len(stack) == count]
    return [nn.ModuleList(parts) for parts in zip(*of_layers, strict=True)]


def maskable(model: InnerModel, first_layer: int) -> dict[str, torch.Size]:
    """Shapes [out, in] of the matrices that get a mask, by their names among the parameters of `model`.

    Of a BERT: query, key, value, attention output, intermediate and output of every layer from `first_layer` on
    (layers count from 0). Of an encoder–decoder: the same of its encoder, which is what features are of.

    Raises:
        ValueError: no linear map is left.
    """
    found, kind = layers(model.encoder), type(model.encoder).__name__
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    linear = [part for layer in found[first_layer:] for part in layer.modules() if isinstance(part, nn.Linear)]
    if not linear and first_layer < len(found):
        raise ValueError(f"the layers of {kind} have no linear map as nn.Linear: weight masks act on these alone")
    if not linear:
        raise ValueError(
            f"no linear map is left to mask from layer {first_layer} on: {kind} has {len(found)} layers, the first is "
            "0; lower first_layer"
        )
    return {names[part.weight]: part.weight.shape for part in linear}


def prefix(model: InnerModel) -> str:
    """What names of parameters of an `InnerModel` begin with, if they belong to its base model: "mlm.bert."."""
    return next(name for name, module in model.named_modules() if module is model.mlm.base_model) + "."
