import copy

import pytest
import torch

from policylearn.artefact import PolicyArtefact, save_policy
from policylearn.policy.networks import ContextNetwork, NeighbourTable, TypeTable
from policylearn.registry.known import NETWORKS

IDS = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(0))
REAL = torch.tensor([[True] * 9, [True] * 5 + [False] * 4, [False] * 2 + [True] * 7])


@pytest.fixture
def network() -> ContextNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ContextNetwork(torch.randn(50, 7), hidden=10, kernel=5)
        torch.nn.init.normal_(network.out.weight)
    return network


def as_written(network) -> torch.Tensor:
    """The formula in the layers' own words."""
    x = network.project(network.features[IDS]) * REAL[..., None]
    x = x + network.context(x.transpose(1, 2)).transpose(1, 2)
    return network.out(torch.nn.functional.gelu(x))[..., 0]


def test_values_and_gradients_are_those_of_the_layers(network):
    logits, expected = network(IDS, REAL), as_written(network)
    torch.testing.assert_close(logits, expected)
    mine, theirs = (torch.autograd.grad(x.square().sum(), list(network.parameters())) for x in (logits, expected))
    torch.testing.assert_close(mine, theirs)


def test_without_gradients_the_same_comes_from_a_table_that_follows_the_weights(network):
    for factor in (1.0, 2.0):
        with torch.no_grad():
            network.project.weight.mul_(factor)
            network.project.bias.add_(factor)
            torch.testing.assert_close(network(IDS, REAL), as_written(network))
            torch.testing.assert_close(copy.deepcopy(network)(IDS, REAL), as_written(network))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda logits: logits[..., None], r"gave torch\.float32 \[1, 3, 1\]: have it give floating logits \[1, 3\]"),
        (lambda logits: logits[0], r"gave torch\.float32 \[3\]: "),
        (lambda logits: logits.long(), r"gave torch\.int64 \[1, 3\]: "),
        (lambda logits: logits.tolist(), "gave a list: "),
        (lambda logits: logits.detach(), "gave logits without a gradient, by which it learns"),
    ],
)
def test_a_network_of_others_that_gives_no_logits_is_named(make_policy, change, said):
    class Theirs(TypeTable):
        def forward(self, types, real):
            return change(super().forward(types, real))

    NETWORKS.register("theirs")(Theirs)
    policy, ids = make_policy("theirs"), torch.tensor([[5, 6, 9]])
    for ask in (policy, policy.probabilities):
        with pytest.raises(ValueError, match=f"^network 'theirs' {said}"):
            ask(ids, torch.ones_like(ids, dtype=torch.bool))


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (
            {"shapes": lambda *_: {"logits": (42, 2)}},
            r"tells \[42, 2\] of 'logits', which is torch.float32 .*: both",
        ),
        ({"shapes": lambda *_: {}}, r"tells of \[\], and the module has \['logits'\]: have it tell of all tensors"),
        ({"shapes": lambda *_: {"logits": (42,), "count": ()}}, r"tells of \['count', 'logits'\], and the module"),
        ({"build": lambda *_: 5}, "has built 5: build has to give a module of torch, or None"),
    ],
)
def test_a_network_of_others_that_could_not_be_loaded_again_is_refused_when_it_is_built(make_policy, own, said):
    NETWORKS.register("theirs")(type("Theirs", (TypeTable,), {key: staticmethod(value) for key, value in own.items()}))
    with pytest.raises(ValueError, match=f"^network 'theirs'.* {said}"):
        make_policy("theirs")


@pytest.mark.parametrize("bound", [float("nan"), 1e30])
def test_a_policy_that_nobody_would_load_is_not_saved(make_policy, tokenizer, tmp_path, bound):
    bounds = staticmethod(lambda size: [torch.tensor(bound)])
    NETWORKS.register("theirs")(type("Theirs", (TypeTable,), {"bounds": bounds}))
    said = r"logits of the policy may become as large as .*: lower policy\.prior, or see to .* of the network 'theirs'$"
    with pytest.raises(ValueError, match=said):
        save_policy(tmp_path / "policy", PolicyArtefact(make_policy("theirs"), tokenizer, {}), "card")
    assert not (tmp_path / "policy").exists()


def test_a_table_of_neighbours_adds_what_stands_about_a_token_within_the_text():
    table = NeighbourTable(50, kernel=3)
    torch.nn.init.normal_(table.logits)
    left, here, right = table.logits.detach()
    row = IDS[2, 2:]
    by_hand = here[row]
    by_hand[1:] += left[row[:-1]]
    by_hand[:-1] += right[row[1:]]
    torch.testing.assert_close(table(IDS, REAL)[2, 2:].detach(), by_hand)
