"""Which matrices of an encoder take part: the weights of the linear maps in its layers, whatever they are called."""

import torch
from torch import nn

from policylearn.models.model import InnerModel


def layers(base: nn.Module) -> tuple[str, nn.ModuleList]:
    """The stack of layers of an encoder and its name: of all module lists the one with most parameters.

    Raises:
        ValueError: there is none.

    >>> layers(nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(2, 2)]), "few": nn.ModuleList([])}))[0]
    'blocks'
    """
    stacks = [(name, module) for name, module in base.named_modules() if isinstance(module, nn.ModuleList)]
    if not stacks:
        raise ValueError(f"{type(base).__name__} has no list of layers, so there is nothing weight masks could act on")
    return max(stacks, key=lambda stack: sum(p.numel() for p in stack[1].parameters()))


def maskable(model: InnerModel, first_layer: int) -> dict[str, torch.Size]:
    """Shapes [out, in] of the matrices that get a mask, by their names among the parameters of `model`.

    Of a BERT: query, key, value, attention output, intermediate and output of every layer from `first_layer` on
    (layers count from 0).

    Raises:
        ValueError: no linear map is left.
    """
    base = model.mlm.base_model
    stack, blocks = layers(base)
    parts = (
        (f"{prefix(model)}{stack}.{number}.{name}.weight", part)
        for number, block in enumerate(blocks)
        if number >= first_layer
        for name, part in block.named_modules()
    )
    found = {name: part.weight.shape for name, part in parts if isinstance(part, nn.Linear)}
    if not found:
        raise ValueError(
            f"no linear map is left to mask from layer {first_layer} on: {type(base).__name__} has {len(blocks)} "
            "layers, the first is 0; lower first_layer"
        )
    return found


def prefix(model: InnerModel) -> str:
    """What names of parameters of an `InnerModel` begin with, if they belong to its encoder: "mlm.bert."."""
    return f"mlm.{model.mlm.base_model_prefix}."
