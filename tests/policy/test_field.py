"""A field that is not of texts: policy, budget, designs and keys never ask what a place is."""

import torch
from torch import Tensor, nn

from policylearn.config import MaskingConfig, PolicyConfig
from policylearn.masking import IGNORED, example_keys
from policylearn.policy import MaskingPolicy, mask_tokens
from policylearn.policy.scores import Scores

LEVELS, PLACES, DEPTH = 4, 40, 3


class Squares(nn.Module):
    """Pictures of T squares, x [B, T, D] in [0, 1): the type of a square is its brightness, what hides it is black."""

    def __init__(self, masking: MaskingConfig) -> None:
        super().__init__()
        self.masking, self.size = masking, LEVELS

    def types(self, x: Tensor) -> Tensor:
        return (x.mean(2) * LEVELS).long()

    def eligible(self, x: Tensor, real: Tensor) -> Tensor:
        return real

    def words(self, x: Tensor, real: Tensor) -> Tensor:
        return torch.arange(real.shape[1]).expand(real.shape)

    def units(self, x, real, keys=None, ends=None, rate=None) -> Tensor | None:
        return None

    def keys(self, x: Tensor, real: Tensor, seed: int, epoch: int | Tensor) -> Tensor:
        return example_keys((x * 255).long().sum(2), real, seed, epoch)

    def hide(self, x: Tensor, mask: Tensor, keys: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        return x.masked_fill(mask[:, :, None], 0.0), torch.where(mask, self.types(x), IGNORED)


def policy_of_squares(network: str = "table") -> MaskingPolicy:
    bright = Scores(torch.arange(LEVELS).float())
    config = PolicyConfig(prior={"bright": 1.0}, network=network, features=LEVELS)
    nothing = torch.zeros(0, dtype=torch.int64)
    return MaskingPolicy(config, {"bright": bright}, nothing, torch.eye(LEVELS), Squares(MaskingConfig(rate=0.25)))


def pictures(count: int = 5) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(count, PLACES, DEPTH, generator=draw), torch.ones(count, PLACES, dtype=torch.bool)


def test_squares_of_pictures_are_hidden_as_tokens_of_texts_are():
    policy, (x, real) = policy_of_squares(), pictures()
    first, again, other = (mask_tokens(policy, x, real, seed=0, epoch=epoch) for epoch in (0, 0, 1))
    assert (first.mask.sum(1) == PLACES // 4).all()
    assert torch.equal(first.mask, again.mask) and not torch.equal(first.mask, other.mask)
    assert (first.shown[first.mask] == 0).all() and torch.equal(first.shown[~first.mask], x[~first.mask])


def test_bright_squares_are_hidden_more_often():
    policy, (x, real) = policy_of_squares(), pictures()
    types = policy.field.types(x)
    often = torch.stack([mask_tokens(policy, x, real, 0, epoch).mask for epoch in range(300)]).float().mean(0)
    assert torch.allclose(often, policy.probabilities(x, real).float(), atol=0.12)
    assert often[types == 3].mean() > 2 * often[types == 1].mean()


def test_every_kind_of_network_learns_of_squares():
    for network in ("table", "context"):
        policy, (x, real) = policy_of_squares(network), pictures()
        p = policy.probabilities(x, real)
        (p * (policy.field.types(x) == 3)).sum().backward()
        gradient = policy.network.logits.grad if network == "table" else policy.network.out.weight.grad
        assert gradient.abs().sum() > 0
