"""What of a policy is learned: small networks from a text to logits of its tokens, zero before any learning.

One of another distribution has the entry point `policylearn.networks` and is a `Network`: an exported policy is only
loaded if its tensors have the shapes that its network says, and its logits are bounded.
"""

from collections.abc import Mapping
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from policylearn.config import PolicyConfig
from policylearn.messages.quote import quote
from policylearn.registry.known import NETWORKS


class Network(Protocol):
    """What `policy.network` names: it builds a module, and knows what such a module is made of."""

    def build(self, config: PolicyConfig, vocab_size: int, features: Tensor) -> nn.Module | None:
        """A module (types, real) → logits, both [B, T], over V types with features [V, F]; None: nothing is
        learned."""
        ...

    def shapes(self, config: PolicyConfig, types: int, features: int) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor of its state, in float32, for V types of F features."""
        ...

    def bounds(self, size: Mapping[str, Tensor]) -> list[Tensor]:
        """Numbers that no |logit| exceeds together, nor anything on the way to one, from the absolute values of these
        tensors in float64."""
        ...


class NoNetwork:
    """Nothing is learned."""

    @staticmethod
    def build(config: PolicyConfig, vocab_size: int, features: Tensor) -> None:
        return None

    @staticmethod
    def shapes(config: PolicyConfig, types: int, features: int) -> dict[str, tuple[int, ...]]:
        return {}

    @staticmethod
    def bounds(size: Mapping[str, Tensor]) -> list[Tensor]:
        return []


class TypeTable(nn.Module):
    """One free logit per type."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(vocab_size))

    @classmethod
    def build(cls, config: PolicyConfig, vocab_size: int, features: Tensor) -> "TypeTable":
        return cls(vocab_size)

    @staticmethod
    def shapes(config: PolicyConfig, types: int, features: int) -> dict[str, tuple[int, ...]]:
        return {"logits": (types,)}

    @staticmethod
    def bounds(size: Mapping[str, Tensor]) -> list[Tensor]:
        return [size["logits"].amax()]

    def forward(self, types: Tensor, real: Tensor) -> Tensor:
        return self.logits[types]


class NeighbourTable(nn.Module):
    """One free logit per type for each place about a token: logit_i = Σ_o table_o[type_{i+o}], o from -kernel // 2 to
    kernel // 2; what stands outside of the text adds nothing."""

    def __init__(self, vocab_size: int, kernel: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(kernel, vocab_size))

    @classmethod
    def build(cls, config: PolicyConfig, vocab_size: int, features: Tensor) -> "NeighbourTable":
        return cls(vocab_size, config.kernel)

    @staticmethod
    def shapes(config: PolicyConfig, types: int, features: int) -> dict[str, tuple[int, ...]]:
        return {"logits": (config.kernel, types)}

    @staticmethod
    def bounds(size: Mapping[str, Tensor]) -> list[Tensor]:
        return [size["logits"].amax(1).sum()]

    def forward(self, types: Tensor, real: Tensor) -> Tensor:
        each = self.logits[:, types] * real  # [kernel, B, T], of the token that stands there
        reach, length = len(each) // 2, types.shape[1]
        around = nn.functional.pad(each, (reach, reach))
        return torch.stack([around[o, :, o : o + length] for o in range(len(each))]).sum(0)


class ContextNetwork(nn.Module):
    """A small network over frozen features of a token and its neighbours.

    features (projected embedding, standardised scores) → linear → depth-wise convolution over the text, added
    → GELU → linear to one logit, which starts at zero.
    """

    outputs = 1

    def __init__(self, features: Tensor, hidden: int, kernel: int) -> None:
        super().__init__()
        self.register_buffer("features", features)
        self.project = nn.Linear(features.shape[1], hidden)
        self.context = nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2, groups=hidden)
        self.out = nn.Linear(hidden, self.outputs, bias=False)  # the budget makes up for any constant
        nn.init.zeros_(self.out.weight)
        self._projection: tuple[Tensor, Tensor] | None = None

    features: Tensor

    @classmethod
    def build(cls, config: PolicyConfig, vocab_size: int, features: Tensor) -> "ContextNetwork":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # torch.manual_seed would seed every GPU anew
            return cls(features, config.hidden, config.kernel)

    @classmethod
    def shapes(cls, config: PolicyConfig, types: int, features: int) -> dict[str, tuple[int, ...]]:
        hidden = config.hidden
        return {
            "features": (types, features),
            "project.weight": (hidden, features),
            "project.bias": (hidden,),
            "context.weight": (hidden, 1, config.kernel),
            "context.bias": (hidden,),
            "out.weight": (cls.outputs, hidden),
        }

    @staticmethod
    def bounds(size: Mapping[str, Tensor]) -> list[Tensor]:
        features = torch.cat([size["features"], torch.zeros(1, size["features"].shape[1])]).amax(0)
        x = size["project.weight"] @ features + size["project.bias"]
        x = x + size["context.weight"].sum((1, 2)) * x + size["context.bias"]
        return [x.amax(), (size["out.weight"] @ x).sum()]

    def forward(self, types: Tensor, real: Tensor) -> Tensor:
        return self._outputs(types, real)[..., 0]

    def _outputs(self, types: Tensor, real: Tensor) -> Tensor:
        """[B, T, outputs]."""
        return self.out(nn.functional.gelu(self._with_context(self._projected(types, real))))

    def _projected(self, types: Tensor, real: Tensor) -> Tensor:
        """[B, T, hidden], zero in padding. Where no gradient is wanted, a row of the table of all types."""
        if torch.is_grad_enabled():
            return self.project(self.features[types]) * real[..., None]
        rows = self._projected_types()
        return nn.functional.embedding(torch.where(real, types, len(rows) - 1), rows)

    def _projected_types(self) -> Tensor:
        """Linear layer of every type, and a row of zeros, [V + 1, hidden]; kept until the layer changes."""
        layer = torch.cat([self.project.weight.detach(), self.project.bias.detach()[:, None]], 1)
        known = self._projection
        if known is None or known[0].device != layer.device or not torch.equal(known[0], layer):
            rows = nn.functional.pad(self.project(self.features), (0, 0, 0, 1))
            self._projection = known = layer, rows.detach()
        return known[1]

    def _with_context(self, x: Tensor) -> Tensor:
        """x + convolution of x, [B, T, hidden]: sums of shifted texts, ten times as fast on a CPU as `Conv1d` is."""
        taps, length = self.context.weight[:, 0].T.contiguous(), x.shape[1]
        around = nn.functional.pad(x, (0, 0, len(taps) // 2, len(taps) // 2))
        x = x + cast(Tensor, self.context.bias)
        for shift, tap in enumerate(taps):
            x.addcmul_(around[:, shift : shift + length], tap)
        return x

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_projection": None}  # soon made anew, and larger than all the rest


class SpanNetwork(ContextNetwork):
    """The same with three logits per token, of a span that begins there, one that ends there, and one that the token is
    inside of; [B, T, 3]. See `masking.spans`."""

    outputs = 3

    def forward(self, types: Tensor, real: Tensor) -> Tensor:
        return self._outputs(types, real)


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
    """The network of a config over V types with features [V, F]; None where nothing is learned.

    Raises:
        ValueError: it is no module, or not of the tensors that its `shapes` tells, by which alone it is loaded again.
    """
    known, who = network(config), f"network {config.network!r}"
    found = known.build(config, vocab_size, features)
    if found is None:
        return None
    if not isinstance(found, nn.Module):
        raise ValueError(f"{who} has built {quote(found)}: build has to give a module of torch, or None")
    has = found.state_dict()
    width = has["features"].shape[-1] if "features" in has and has["features"].ndim else 0  # what a file tells of it
    _check_tensors(f"{who}: shapes(config, {vocab_size}, {width})", has, known.shapes(config, vocab_size, width))
    return found


def _check_tensors(who: str, has: Mapping[str, Tensor], told: Mapping[str, tuple[int, ...]]) -> None:
    if has.keys() != told.keys():
        raise ValueError(
            f"{who} tells of {sorted(told)}, and the module has {sorted(has)}: have it tell of all tensors"
        )
    for name, tensor in has.items():
        if tuple(tensor.shape) != tuple(told[name]) or not tensor.is_floating_point():
            given = f"{tensor.dtype} {list(tensor.shape)}"
            raise ValueError(
                f"{who} tells {list(told[name])} of {name!r}, which is {given}: both have to be one, in float32"
            )


def network(config: PolicyConfig) -> Network:
    """What `policy.network` names; ValueError: there is no such network."""
    return NETWORKS.get(config.network)
