"""The closed forms against torch's own updates, and against autograd through them written out."""

import pytest
import torch

from policylearn.metagrad.updates import Adjoint, back_over_adamw, back_over_clipping, back_over_sgd, clipping


def draw(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("number", [1, 7])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_the_adjoint_of_adamw_is_that_of_autograd(number, decay):
    theta, m, g, v, *after = draw(7, number)
    v = v.square()
    if number == 1:
        m, v = torch.zeros_like(m), torch.zeros_like(v)
    group = {"lr": 0.1, "weight_decay": decay, "betas": (0.9, 0.98), "eps": 1e-3}
    state = {"step": torch.tensor(float(number - 1)), "exp_avg": m, "exp_avg_sq": v} if number > 1 else {}

    def update(theta, m, v, g):
        m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g * g
        root = (v / (1 - 0.98**number)).sqrt()
        return theta * (1 - 0.1 * decay) - 0.1 * (m / (1 - 0.9**number)) / (root + 1e-3), m, v

    inputs = [x.clone().requires_grad_() for x in (theta, m, v, g)]
    outputs = update(*inputs)
    torch.testing.assert_close(outputs[0], torchs(torch.optim.AdamW, theta, state, g, group), rtol=1e-12, atol=1e-12)
    expected = torch.autograd.grad(outputs, inputs, after)
    adjoint = Adjoint(after[0].clone(), {"exp_avg": after[1].clone(), "exp_avg_sq": after[2].clone()})
    back_over_adamw([adjoint], [state], [u := g.clone()], group)
    for found, wanted in zip((adjoint.theta, *adjoint.moments.values(), u), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_the_adjoint_of_sgd_is_that_of_autograd(warm, momentum, decay):
    theta, b, g, *after = draw(5, 1)
    group = {"lr": 0.1, "weight_decay": decay, "momentum": momentum}
    state = {"momentum_buffer": b} if warm and momentum else {}
    b = b if state else torch.zeros_like(b)

    def update(theta, b, g):
        b = momentum * b + g + decay * theta
        return theta - 0.1 * b, b

    inputs = [x.clone().requires_grad_() for x in (theta, b, g)]
    outputs = update(*inputs)
    torch.testing.assert_close(outputs[0], torchs(torch.optim.SGD, theta, state, g, group), rtol=1e-12, atol=1e-12)
    remembered = {"momentum_buffer": after[1].clone()} if momentum else {}
    wanted_after = after if momentum else [after[0], torch.zeros_like(b)]
    expected = torch.autograd.grad(outputs, inputs, wanted_after)
    adjoint = Adjoint(after[0].clone(), remembered)
    back_over_sgd([adjoint], [state], [u := g.clone()], group)
    torch.testing.assert_close(adjoint.theta, expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(u, expected[2], rtol=1e-12, atol=1e-12)
    if momentum:
        torch.testing.assert_close(adjoint.moments["momentum_buffer"], expected[1], rtol=1e-12, atol=1e-12)


def torchs(kind, theta, state, g, group) -> torch.Tensor:
    p = theta.clone().requires_grad_()
    p.grad = g.clone()
    optimizer = kind([p], **group)
    if state:
        optimizer.state[p] = {name: value.clone() for name, value in state.items()}
    optimizer.step()
    return p.detach()


@pytest.mark.parametrize("clip", [0.5, 1e6], ids=["clipped", "short enough"])
def test_the_adjoint_of_clipping_is_that_of_autograd(clip):
    g, other, *after = draw(4, 2)
    twins = [x.clone().requires_grad_() for x in (g, other)]
    for twin, x in zip(twins, (g, other), strict=True):
        twin.grad = x.clone()
    torch.nn.utils.clip_grad_norm_(twins, clip)
    norm, scale = clipping([g, None, other], clip)
    for twin, x in zip(twins, (g, other), strict=True):
        assert torch.equal(twin.grad, x * scale)
    factor = (clip / (torch.cat(twins).norm() + 1e-6)).clamp(max=1.0)
    expected = torch.autograd.grad([factor * twin for twin in twins], twins, after)
    u = [after[0].clone(), None, after[1].clone()]
    back_over_clipping(u, [g, None, other], norm, scale)
    torch.testing.assert_close((u[0], u[2]), expected, rtol=1e-12, atol=1e-12)


def test_a_second_moment_of_zero_counts_as_constant():
    adjoint = Adjoint(torch.ones(1), {"exp_avg": torch.zeros(1), "exp_avg_sq": torch.ones(1)})
    group = {"lr": 0.1, "weight_decay": 0.0, "betas": (0.9, 0.98), "eps": 1e-8}
    back_over_adamw([adjoint], [{}], [u := torch.zeros(1)], group)
    assert u.item() == pytest.approx(-0.1 / 1e-8, rel=1e-4)
    assert adjoint.moments["exp_avg_sq"].item() == pytest.approx(0.98)
