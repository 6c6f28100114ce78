import math

import higher
import pytest
import torch

from policylearn.inner.masked_lm import MaskedLM
from policylearn.inner.window import Window
from policylearn.metagrad.unroll import DifferentiableAdamW, unroll

RATES = [0.01, 0.03, 0.02]


def flat(model) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("warm", [0, 4], ids=["fresh", "warm"])
def test_the_differentiable_adamw_is_that_of_torch(warm, decay):
    """Two groups, the second without decay; a parameter that never has a gradient."""
    torch.manual_seed(0)
    data = torch.randn(10, 30, 6)
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    net[0].unused = torch.nn.Linear(2, 2)
    matrices, vectors = ([p for p in net.parameters() if (p.ndim > 1) is wanted] for wanted in (True, False))
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.05, betas=(0.9, 0.98), eps=1e-8)

    def loss(model, x):
        return (model(x[:, :6]) - x.sum(1, keepdim=True)).square().mean()

    def plain_step(x):
        optimizer.zero_grad()
        loss(net, x).backward()
        optimizer.step()

    for x in data[:warm]:
        plain_step(x)
    with higher.innerloop_ctx(net, optimizer) as (functional, inner_optimizer):
        assert isinstance(inner_optimizer, DifferentiableAdamW)
        for x in data[warm:]:
            inner_optimizer.step(loss(functional, x))
        for x in data[warm:]:
            plain_step(x)
        torch.testing.assert_close(flat(functional), flat(net), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(flat(functional[0].unused), flat(net[0].unused), rtol=0, atol=0)


def test_matrices_leave_out_what_the_last_step_does_to_norms_and_biases(inner, relative_error):
    """Of a window of one step; of longer ones, and other engines, see test_engines.py."""
    problem = inner(warm=5)
    batches = problem.batches(1)
    expected = problem.numeric(batches, RATES[:1], frozen_vectors=True)
    everything = problem.numeric(batches, RATES[:1])
    credits = torch.cat(unroll(problem.model, problem.optimizer, Window(batches, RATES[:1], MaskedLM()), problem.outer))
    assert relative_error(credits, expected) < 1e-8
    assert relative_error(credits, everything) > 1e-2


def test_a_parameter_that_never_had_a_gradient_does_no_harm(inner):
    """Token embeddings that occur nowhere have moments of exactly zero, where a square root has no slope."""
    problem = inner(tied=False, warm=1)
    unseen = problem.optimizer.state[problem.model.mlm.get_input_embeddings().weight]["exp_avg_sq"] == 0
    assert unseen.any()
    credits = unroll(problem.model, problem.optimizer, Window(problem.batches(2), RATES[:2], MaskedLM()), problem.outer)
    assert all(math.isfinite(x) for credit in credits for x in credit.tolist())
