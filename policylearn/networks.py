"""What of a policy is learned: small networks from a text to one logit per token, zero before any learning."""

import torch
from torch import Tensor, nn

from policylearn.config import PolicyConfig


class TypeTable(nn.Module):
    """One free logit per token id."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, input_ids: Tensor, real: Tensor) -> Tensor:
        return self.logits[input_ids]


class ContextNetwork(nn.Module):
    """A small network over frozen features of a token and its neighbours.

    features (projected embedding, standardised scores) → linear → depth-wise convolution over the text, added
    → GELU → linear to one logit, which starts at zero.
    """

    def __init__(self, features: Tensor, hidden: int, kernel: int) -> None:
        super().__init__()
        self.register_buffer("features", features)
        self.project = nn.Linear(features.shape[1], hidden)
        self.context = nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2, groups=hidden)
        self.out = nn.Linear(hidden, 1, bias=False)  # the budget makes up for any constant
        nn.init.zeros_(self.out.weight)

    features: Tensor

    def forward(self, input_ids: Tensor, real: Tensor) -> Tensor:
        x = self.project(self.features[input_ids]) * real[..., None]
        x = x + self.context(x.transpose(1, 2)).transpose(1, 2)
        return self.out(nn.functional.gelu(x))[..., 0]


def token_features(embedding: Tensor, scores: dict[str, Tensor], dimensions: int) -> Tensor:
    """What the context network knows of a token type: projected embedding and standardised scores, [V, F]."""
    columns = [_standardised(scores[name][:, None].float()) for name in sorted(scores)]
    return torch.cat([projected_embedding(embedding, dimensions), *columns], 1)


def projected_embedding(embedding: Tensor, dimensions: int) -> Tensor:
    """The first principal components of [V, d] token embeddings, each of unit variance; [V, min(dimensions, d)].

    Signs are fixed (largest entry of each axis positive), so the result does not depend on the solver.
    """
    x = embedding.double() - embedding.double().mean(0)
    _, axes = torch.linalg.eigh(x.T @ x)
    axes = axes.flip(1)[:, :dimensions]
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    return _standardised(x @ axes).float()


def _standardised(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0).clamp(min=1e-9)


def build_network(config: PolicyConfig, vocab_size: int, features: Tensor) -> nn.Module | None:
    """The network of a config over V types with features [V, F]; None where nothing is learned."""
    if config.network == "none":
        return None
    if config.network == "table":
        return TypeTable(vocab_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ContextNetwork(features, config.hidden, config.kernel)
