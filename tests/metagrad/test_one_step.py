import pytest
import torch
from torch.nn.functional import cosine_similarity

from policylearn.config import InnerConfig
from policylearn.inner.masked_lm import MaskedLM
from policylearn.inner.window import Window
from policylearn.metagrad.one_step import one_step, outer_direction, token_derivatives
from policylearn.metagrad.unroll import unroll

SMALL = 1e-5
# Moments that know the gradients well: the step's own changes the preconditioner little.
STEADY = InnerConfig(betas=(0.9, 0.999), weight_decay=0.01, eps=1e-6)


@pytest.fixture(scope="module")
def warm(inner):
    return inner(warm=40, settings=STEADY)


def moved(model, direction, by):
    """The token losses' model at θ + by · direction, in place."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name in direction:
                p += by * direction[name]


@pytest.mark.parametrize("parameters", ["all", "matrices"])
def test_token_derivatives_are_those_of_numeric_differentiation(warm, relative_error, parameters):
    direction = outer_direction(warm.model, warm.optimizer, 1.0, warm.outer, parameters)
    (batch,) = warm.batches(1)
    model, _ = warm.copies()
    eps, losses = 1e-6, []
    for by in (eps, -2 * eps):
        moved(model, direction, by)
        with torch.no_grad():
            losses.append(model(batch.shown, batch.real, labels=batch.labels))
    numeric = (losses[0] - losses[1]) / (2 * eps)
    exact = token_derivatives(warm.model, direction, batch, MaskedLM()) * batch.mask.sum()
    assert exact.shape == (int(batch.mask.sum()),)
    assert relative_error(exact, numeric) < 1e-6


def test_the_direction_is_the_outer_gradient_as_adamw_would_scale_it(warm):
    """Moved by a gradient that is tiny beside the moments, AdamW changes its step by P times that gradient."""
    rate = 0.01
    direction = outer_direction(warm.model, warm.optimizer, rate, warm.outer, parameters="all")
    gradients = torch.autograd.grad(warm.outer(warm.model), list(warm.model.parameters()), allow_unused=True)

    def step(size: float):
        model, optimizer = warm.copies()
        for group in optimizer.param_groups:
            group["lr"] = rate
        for p, g in zip(model.parameters(), gradients, strict=True):
            p.grad = torch.zeros_like(p) if g is None else size * g
        optimizer.step()
        return dict(model.named_parameters())

    plain, nudged = step(0.0), step(1e-6)
    for name, expected in direction.items():
        seen = (plain[name] - nudged[name]).detach() / 1e-6
        torch.testing.assert_close(seen, expected, rtol=1e-3, atol=1e-6 * expected.abs().max().item())


@pytest.mark.parametrize("parameters", ["all", "matrices"])
def test_at_a_small_rate_it_agrees_with_the_unrolled_step(warm, parameters):
    batches = warm.batches(6)
    fast = one_step(warm.model, warm.optimizer, Window(batches, [SMALL] * 6, MaskedLM()), warm.outer, parameters)
    for batch, credits in zip(batches, fast, strict=True):
        model, optimizer = warm.copies()
        (exact,) = unroll(model, optimizer, Window([batch], [SMALL], MaskedLM()), warm.outer, parameters)
        assert credits.shape == exact.shape
        assert cosine_similarity(credits, exact, dim=0) > 0.998
        assert credits.norm().item() == pytest.approx(exact.norm().item(), rel=0.25)


def test_without_the_preconditioner_it_would_not(warm):
    """The comparison above can fail."""
    named = {name: p for name, p in warm.model.named_parameters() if p.ndim > 1}
    gradients = torch.autograd.grad(warm.outer(warm.model), list(named.values()), allow_unused=True)
    direction = {name: g for name, g in zip(named, gradients, strict=True) if g is not None}
    cosines = []
    for batch in warm.batches(6):
        wrong = -token_derivatives(warm.model, direction, batch, MaskedLM())
        model, optimizer = warm.copies()
        (exact,) = unroll(model, optimizer, Window([batch], [SMALL], MaskedLM()), warm.outer)
        cosines.append(cosine_similarity(wrong, exact, dim=0).item())
    assert min(cosines) < 0.998, cosines  # what it is held to above


def test_matrices_leave_out_norms_and_biases(warm):
    everything = outer_direction(warm.model, warm.optimizer, 1.0, warm.outer, parameters="all")
    matrices = outer_direction(warm.model, warm.optimizer, 1.0, warm.outer)
    assert {d.ndim for d in everything.values()} == {1, 2}
    assert {d.ndim for d in matrices.values()} == {2}
    assert all(torch.equal(d, everything[name]) for name, d in matrices.items())


def test_nothing_is_advanced(warm):
    before = {name: p.detach().clone() for name, p in warm.model.named_parameters()}
    moments = [value.clone() for state in warm.optimizer.state.values() for value in state.values()]
    batches = warm.batches(2)
    first = one_step(warm.model, warm.optimizer, Window(batches, [0.01, 0.03], MaskedLM()), warm.outer)
    for batch, rate, credits in zip(batches, (0.01, 0.03), first, strict=True):
        (again,) = one_step(warm.model, warm.optimizer, Window([batch], [rate], MaskedLM()), warm.outer)
        assert torch.equal(credits, again)  # a batch's credits depend on its own rate, and not on its neighbours
    assert all(torch.equal(p, before[name]) for name, p in warm.model.named_parameters())
    after = [value for state in warm.optimizer.state.values() for value in state.values()]
    assert all(torch.equal(a, b) for a, b in zip(after, moments, strict=True))


def test_a_fresh_optimiser_has_no_direction_yet(inner):
    fresh = inner()
    with pytest.raises(AssertionError, match="no moments yet"):
        one_step(fresh.model, fresh.optimizer, Window(fresh.batches(1), [0.01], MaskedLM()), fresh.outer)
