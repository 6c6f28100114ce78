import math

import higher
import pytest
import torch

from policylearn.inner.probe import outer_loss
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


@pytest.mark.parametrize("warm", [0, 5], ids=["fresh", "warm"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_credits_are_the_derivatives_of_the_outer_loss(inner, relative_error, tied, steps, warm):
    problem = inner(tied=tied, warm=warm)
    batches = problem.batches(steps)
    expected = problem.numeric(batches, RATES[:steps])
    credits = unroll(problem.model, problem.optimizer, Window(batches, RATES[:steps]), problem.outer, parameters="all")
    assert [len(c) for c in credits] == [int(batch.mask.sum()) for batch in batches]
    assert all(c.dtype == torch.float64 for c in credits)
    assert relative_error(torch.cat(credits), expected) < 1e-8


@pytest.mark.parametrize("steps", [1, 3])
def test_matrices_leave_out_what_the_last_step_does_to_norms_and_biases(inner, relative_error, steps):
    problem = inner(warm=5)
    batches = problem.batches(steps)
    expected = problem.numeric(batches, RATES[:steps], frozen_vectors=True)
    everything = problem.numeric(batches, RATES[:steps])
    credits = torch.cat(unroll(problem.model, problem.optimizer, Window(batches, RATES[:steps]), problem.outer))
    assert relative_error(credits, expected) < 1e-8
    assert relative_error(credits, everything) > 1e-2


def test_a_model_with_untied_embeddings_has_other_credits(inner, relative_error):
    """Same weights, same batches: credits that ignore the tie would be found out above."""
    tied, untied = inner(tied=True), inner(tied=False)
    batches = tied.batches(1)
    assert torch.equal(tied.model(tied.ids, tied.real), untied.model(tied.ids, tied.real))
    expected = tied.numeric(batches, RATES[:1])
    untied.ids, untied.real, untied.y, untied.head = tied.ids, tied.real, tied.y, tied.head
    credits = unroll(untied.model, untied.optimizer, Window(batches, RATES[:1]), untied.outer, parameters="all")
    assert relative_error(credits[0], expected) > 1e-2


def test_a_second_moment_without_gradient_would_be_found_out(inner, relative_error, monkeypatch):
    """The comparison with numeric differentiation fails for an AdamW that is slightly wrong."""
    problem = inner()
    batches = problem.batches(1)
    expected = problem.numeric(batches, RATES[:1])
    monkeypatch.setattr(torch.Tensor, "sqrt", lambda x, sqrt=torch.Tensor.sqrt: sqrt(x.detach()))
    credits = unroll(problem.model, problem.optimizer, Window(batches, RATES[:1]), problem.outer, parameters="all")
    assert relative_error(credits[0], expected) > 1e-2


def test_credits_through_the_ridge_probe(inner, relative_error):
    """The real outer loss, whose ridge and temperature are chosen anew at every evaluation."""
    problem = inner(warm=5)

    def outer(features):
        x = features(problem.ids, problem.real)
        return outer_loss(x[:6], problem.y[:6], x[6:], problem.y[6:].flip(0), 3).loss

    problem.outer = outer
    batches = problem.batches(2)
    expected = problem.numeric(batches, RATES[:2], eps=1e-3)
    credits = unroll(problem.model, problem.optimizer, Window(batches, RATES[:2]), outer, parameters="all")
    assert relative_error(torch.cat(credits), expected) < 1e-6


@pytest.mark.parametrize("warm", [0, 5], ids=["fresh", "warm"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_model_and_optimiser_end_where_plain_steps_take_them(inner, warm, dtype):
    """Dropout, which the config of this model asks for, stays off."""
    problem = inner(warm=warm, dtype=dtype)
    batches, following = problem.batches(3), problem.batches(1)
    model, optimizer = problem.after(batches, RATES, [None] * 3)
    unroll(problem.model, problem.optimizer, Window(batches, RATES), problem.outer)
    tolerance = {"rtol": 0, "atol": 1e-12 if dtype == torch.float64 else 2e-6}
    for _ in range(2):
        torch.testing.assert_close(flat(problem.model), flat(model), **tolerance)
        for p, q in zip(problem.model.parameters(), model.parameters(), strict=True):
            ours, theirs = problem.optimizer.state.get(p, {}), optimizer.state.get(q, {})
            assert ours.keys() == theirs.keys()
            for name in ours:
                torch.testing.assert_close(ours[name], theirs[name], **tolerance)
        # and a further plain step finds everything in order
        problem.step(problem.model, problem.optimizer, following[0], 0.01)
        problem.step(model, optimizer, following[0], 0.01)


def test_a_parameter_that_never_had_a_gradient_does_no_harm(inner):
    """Token embeddings that occur nowhere have moments of exactly zero, where a square root has no slope."""
    problem = inner(tied=False, warm=1)
    unseen = problem.optimizer.state[problem.model.mlm.get_input_embeddings().weight]["exp_avg_sq"] == 0
    assert unseen.any()
    credits = unroll(problem.model, problem.optimizer, Window(problem.batches(2), RATES[:2]), problem.outer)
    assert all(math.isfinite(x) for credit in credits for x in credit.tolist())
