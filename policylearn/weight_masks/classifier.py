"""A classifier that learns masks of an encoder, and nothing of the encoder itself."""

from collections.abc import Mapping

from torch import Tensor, nn

from policylearn.models.model import Elsewhere, InnerModel
from policylearn.weight_masks.masks import binarise, masked


class MaskedClassifier(nn.Module):
    """logits [B, C] = f(θ ∘ M) Wᵀ + b of a frozen encoder f; the scores behind M are what there is to train.

    Args:
        encoder: an `InnerModel`, neither copied nor changed.
        scores: m by name of the matrix among the encoder's parameters, copied.
        weight, bias: [C, d] and [C] where the head starts, copied.
    """

    def __init__(self, encoder: InnerModel, scores: Mapping[str, Tensor], weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self._frozen = (encoder,)  # in a tuple, so that it is no part: not moved, not saved, not trained
        self.names = list(scores)
        self.scores = nn.ParameterList(m.detach().clone().to(weight.device) for m in scores.values())
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())

    @property
    def encoder(self) -> InnerModel:
        """The frozen encoder."""
        return self._frozen[0]

    def masks(self) -> dict[str, Tensor]:
        """M by name, differentiable straight through to the scores."""
        return {name: binarise(m) for name, m in zip(self.names, self.scores, strict=True)}

    def forward(self, input_ids: Tensor, real: Tensor, **more: Tensor) -> Tensor:
        frozen = {name: p.detach() for name, p in self.encoder.named_parameters()}
        features = Elsewhere(self.encoder, masked(frozen, self.masks()))
        return features(input_ids, real, **more) @ self.weight.T + self.bias
