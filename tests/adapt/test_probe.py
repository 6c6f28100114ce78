import math

import pytest
import torch
from sklearn.linear_model import Ridge
from torch.nn.functional import cross_entropy

from policylearn.adapt.ridge import RIDGES, centred_targets, probe_loss, ridge_coefficients, standardise
from policylearn.tasks.classification import Classification

CLASSES = 3
READOUT = Classification(CLASSES)


def task(n_support: int, n_query: int, d: int, seed: int = 0):
    """Noisy features around one centre per class, double precision."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, d, generator=g, dtype=torch.float64)
    y = torch.arange(n_support + n_query) % CLASSES
    x = 0.4 * centres[y] + torch.randn(len(y), d, generator=g, dtype=torch.float64)
    return x[:n_support], y[:n_support], x[n_support:], y[n_support:]


@pytest.mark.parametrize(("n", "d"), [(40, 6), (6, 6), (9, 25)], ids=["d < n", "d = n", "d > n"])
@pytest.mark.parametrize("ridge", [0.01, 1.0, 30.0])
def test_scores_are_those_of_ridge_regression(n, d, ridge):
    support, y, query, _ = task(n, 7, d)
    targets = centred_targets(READOUT.targets(y))[0].double()
    expected = Ridge(alpha=ridge * n, fit_intercept=False).fit(support.numpy(), targets.numpy()).predict(query.numpy())
    torch.testing.assert_close(query @ ridge_coefficients(support, targets)(ridge), torch.from_numpy(expected))


def test_features_are_standardised_by_the_support_set():
    support, _, query, _ = task(30, 5, 4)
    support, query = 3 * support + 7, 3 * query + 7
    ours, theirs = standardise(support, query)
    torch.testing.assert_close(ours.mean(0), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(ours.var(0), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(theirs * support.std(0) + support.mean(0), query)


def test_a_feature_that_never_varies_is_harmless():
    support, y, query, query_y = task(30, 20, 4)
    support[:, 2] = query[:, 2] = 5.0
    assert math.isfinite(probe_loss(support, y, query, query_y, READOUT).loss.item())


def test_targets_are_one_hot_less_the_class_shares():
    assert (
        centred_targets(Classification(2).targets(torch.tensor([0, 1, 1, 1])))[0].tolist()
        == [[0.75, -0.75], [-0.25, 0.25]] + [[-0.25, 0.25]] * 2
    )


def test_the_loss_is_the_cross_entropy_of_the_chosen_fit():
    support, y, query, query_y = task(40, 30, 8)
    fit = probe_loss(support, y, query, query_y, READOUT)
    s, q = standardise(support, query)
    logits = fit.factor * (q @ ridge_coefficients(s, centred_targets(READOUT.targets(y))[0].double())(fit.ridge))
    assert fit.loss.item() == pytest.approx(cross_entropy(logits, query_y).item())
    assert fit.quality == pytest.approx((logits.argmax(1) == query_y).double().mean().item())
    assert fit.quality > 0.5  # chance is a third


@pytest.mark.parametrize("n_support", [40, 6], ids=["d < n", "d > n"])
def test_ridge_and_temperature_stand_at_their_optimum(n_support):
    support, y, query, query_y = task(n_support, 60, 8)
    fit = probe_loss(support, y, query, query_y, READOUT)
    s, q = standardise(support, query)

    def loss(ridge: float, temperature: float) -> float:
        scores = q @ ridge_coefficients(s, centred_targets(READOUT.targets(y))[0].double())(ridge)
        return cross_entropy(temperature * scores, query_y).item()

    assert 0.02 < fit.factor < 400  # inside its bounds
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert loss(fit.ridge, factor * fit.factor) > fit.loss.item()
    grid = [fit.factor * 1.1**k for k in range(-30, 31)]
    assert all(min(loss(ridge, t) for t in grid) >= fit.loss.item() for ridge in RIDGES)


@pytest.mark.parametrize("n_support", [40, 6], ids=["d < n", "d > n"])
def test_the_gradient_is_that_of_numeric_differentiation(n_support):
    """Through standardisation and solve; that ridge and temperature are chosen anew adds nothing."""
    support, y, query, query_y = task(n_support, 25, 8)
    support.requires_grad_(), query.requires_grad_()
    fit = probe_loss(support, y, query, query_y, READOUT)
    exact = torch.autograd.grad(fit.loss, [support, query])
    eps, g = 1e-5, torch.Generator().manual_seed(5)
    for _ in range(5):
        directions = [torch.randn(x.shape, generator=g, dtype=torch.float64) for x in (support, query)]

        def moved(by: float, directions=directions) -> float:
            s, q = ((x + by * v).detach() for x, v in zip((support, query), directions, strict=True))
            return probe_loss(s, y, q, query_y, READOUT).loss.item()

        numeric = (moved(eps) - moved(-eps)) / (2 * eps)
        along = sum((e * v).sum() for e, v in zip(exact, directions, strict=True)).item()
        assert along == pytest.approx(numeric, rel=1e-6, abs=1e-8)


def test_the_loss_keeps_the_precision_of_the_features():
    support, y, query, query_y = task(12, 9, 4)
    assert probe_loss(support, y, query, query_y, READOUT).loss.dtype == torch.float64
    assert probe_loss(support.float(), y, query.float(), query_y, READOUT).loss.dtype == torch.float32


def test_a_class_missing_from_the_support_set_is_no_obstacle():
    support, y, query, query_y = task(12, 9, 4)
    kept = y != 2
    assert math.isfinite(probe_loss(support[kept], y[kept], query, query_y, READOUT).loss.item())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(bad):
    support, y, query, query_y = task(12, 9, 4)
    query[3, 1] = bad
    with pytest.raises(FloatingPointError, match="outer loss became nan"):
        probe_loss(support, y, query, query_y, READOUT)
