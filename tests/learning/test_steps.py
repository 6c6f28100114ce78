import math

import pytest
import torch

from policylearn.arms.arms import initial_policy
from policylearn.config import LearnConfig
from policylearn.learning.rollout import PolicyGradient
from policylearn.learning.steps import (
    agreement,
    apply_gradient,
    mean_gradient,
    policy_optimizer,
    restore,
    round_record,
    snapshot,
)


def result(*gradient: float, **metrics: float) -> PolicyGradient:
    return PolicyGradient({"phi": torch.tensor(gradient)} if gradient else {}, {"dev": 0.5} | metrics)


@pytest.fixture
def policy(tiny_problem):
    return initial_policy(tiny_problem)


@pytest.fixture
def gradients(policy):
    g = torch.Generator().manual_seed(0)
    return [{name: torch.randn(v.shape, generator=g) for name, v in policy.learned().items()} for _ in range(4)]


def test_the_mean_gradient_by_hand():
    mean = mean_gradient([result(1.0, 2.0), result(3.0, 6.0)])
    assert mean.keys() == {"phi"}
    assert mean["phi"].tolist() == [2.0, 4.0]


def test_the_mean_gradient_depends_on_the_order_given_and_on_nothing_else():
    """Floating point sums are not associative: rollout order must be kept for equal bits."""
    values = [1e8, 1.0, -1e8, 1.0]
    in_order = mean_gradient([result(v) for v in values])["phi"]
    assert torch.equal(in_order, mean_gradient([result(v) for v in values])["phi"])
    assert not torch.equal(in_order, mean_gradient([result(v) for v in sorted(values)])["phi"])


def test_agreement_is_the_mean_cosine_of_pairs():
    assert agreement([result(1.0, 0.0), result(2.0, 0.0)]) == pytest.approx(1)
    assert agreement([result(1.0, 0.0), result(-2.0, 0.0)]) == pytest.approx(-1)
    assert agreement([result(1.0, 0.0), result(0.0, 1.0), result(1.0, 1.0)]) == pytest.approx(2 * math.sqrt(0.5) / 3)
    assert agreement([result(1.0, 0.0)]) is None
    assert agreement([result(), result()]) is None


@pytest.mark.parametrize("eps", [1e-8, 1e-2])
def test_a_step_of_phi_is_a_step_of_adam(policy, gradients, eps):
    config = LearnConfig(learning_rate=0.1, trust_rate=0.02, eps=eps)
    twin = [p.detach().clone().requires_grad_() for p in policy.parameters() if p.requires_grad]
    rates = [0.02 if name == "trust" else 0.1 for name in policy.learned()]
    groups = [
        {"params": [p], "lr": rate, "eps": eps if rate == 0.1 else 1e-8} for p, rate in zip(twin, rates, strict=True)
    ]
    reference, optimizer = torch.optim.Adam(groups), policy_optimizer(policy, config)
    for gradient in gradients:
        apply_gradient(policy, optimizer, gradient)
        for p, g in zip(twin, gradient.values(), strict=True):
            p.grad = g.clone()
        reference.step()
    assert all(torch.equal(p, q) for p, q in zip(policy.learned().values(), twin, strict=True))
    assert all(p.grad is None for p in policy.parameters())
    assert not policy.strengths.requires_grad  # the prior stays


def test_a_snapshot_restores_phi_and_adam_to_the_last_bit(tiny_problem, policy, gradients):
    config = LearnConfig(learning_rate=0.1)
    optimizer = policy_optimizer(policy, config)
    for gradient in gradients[:2]:
        apply_gradient(policy, optimizer, gradient)
    tensors = snapshot(policy, optimizer)
    kept = {name: value.clone() for name, value in tensors.items()}
    for gradient in gradients[2:]:
        apply_gradient(policy, optimizer, gradient)
    assert all(torch.equal(tensors[name], kept[name]) for name in kept)  # a snapshot is a copy

    other = initial_policy(tiny_problem)
    continued = policy_optimizer(other, config)
    restore(other, continued, tensors)
    assert all(torch.equal(a, b) for a, b in zip(snapshot(other, continued).values(), kept.values(), strict=True))
    for gradient in gradients[2:]:
        apply_gradient(other, continued, gradient)
    assert all(torch.equal(a, b) for a, b in zip(other.learned().values(), policy.learned().values(), strict=True))


def test_without_adams_moments_the_bits_would_differ(tiny_problem, policy, gradients):
    config = LearnConfig(learning_rate=0.1)
    optimizer = policy_optimizer(policy, config)
    apply_gradient(policy, optimizer, gradients[0])
    phi_only = {name: v for name, v in snapshot(policy, optimizer).items() if name.startswith("phi.")}
    other = initial_policy(tiny_problem)
    continued = policy_optimizer(other, config)
    restore(other, continued, phi_only)
    for p, o in ((policy, optimizer), (other, continued)):
        apply_gradient(p, o, gradients[1])
    assert not torch.equal(policy.learned()["network.logits"], other.learned()["network.logits"])


def test_the_record_of_a_round(policy):
    results = [result(3.0, 0.0, dev=0.6, outer_loss=0.2), result(5.0, 0.0, dev=0.8, outer_loss=0.4)]
    record = round_record(4, results, {"random": 0.5}, 0.15)
    assert (record["round"], record["rate"], record["baselines"]) == (4, 0.15, {"random": 0.5})
    assert record["dev_scores"] == [0.6, 0.8]
    means = {"dev": 0.7, "outer_loss": 0.3, "gradient_norm": 4.0, "reliability": 1.0}
    assert {name: record[name] for name in means} == pytest.approx(means)
