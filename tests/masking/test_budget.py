import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policylearn.masking import budget, masked_total

ALL = torch.ones(1, 5, dtype=torch.bool)


@st.composite
def batches(draw):
    """Logits of any size up to ±1e4, eligibility (empty and full rows included), a rate and a cap above it."""
    shape = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    spread = draw(st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e4]))
    logits = (spread * torch.randn(shape, generator=random, dtype=torch.float64)).clamp(-1e4, 1e4)
    eligible = torch.rand(shape, generator=random) < draw(st.sampled_from([0.0, 0.1, 0.8, 1.0]))
    p_max = draw(st.sampled_from([0.3, 0.9, 1.0]))
    return logits, eligible, draw(st.sampled_from([0.01, 0.15, 0.6])) * p_max, p_max


@settings(deadline=None, max_examples=50)
@given(batches())
def test_the_budget_is_spent_exactly_and_only_where_allowed(batch):
    logits, eligible, rate, p_max = batch
    p = budget(logits, eligible, rate, p_max)
    n = eligible.sum(1)
    wanted = torch.where(n > 0, (rate * n.double()).clamp(min=1), 0)
    torch.testing.assert_close(p.sum(1), wanted, atol=1e-5, rtol=0)
    assert (p[~eligible] == 0).all() and (p >= 0).all() and (p <= 1).all()


@settings(deadline=None, max_examples=50)
@given(batches())
def test_no_probability_exceeds_the_cap_where_the_budget_fits_below_it(batch):
    logits, eligible, rate, p_max = batch
    p = budget(logits, eligible, rate, p_max)
    fits = masked_total(eligible, rate) < 0.99 * p_max * eligible.sum(1)
    assert (p[fits] <= p_max).all()


@settings(deadline=None, max_examples=50)
@given(batches())
def test_probabilities_are_ordered_as_the_logits(batch):
    logits, eligible, rate, p_max = batch
    p = budget(logits, eligible, rate, p_max)
    for x, y, e in zip(logits, p, eligible, strict=True):
        assert (y[e][x[e].argsort()].diff() >= 0).all()


@settings(deadline=None, max_examples=50)
@given(batches(), st.floats(-50, 50))
def test_a_shift_of_all_logits_changes_nothing(batch, shift):
    logits, *rest = batch
    torch.testing.assert_close(budget(logits + shift, *rest), budget(logits, *rest), atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    "x", [[1e4, -1e4, 0, 0, 0], [1e4] * 5, [-1e4, -1e4, -1e4, -1e4, 1e4], [1e4, 1e4, 0, -1e4, -1e4]]
)
@pytest.mark.parametrize("rate", [0.01, 0.2, 0.4, 0.8])
def test_extreme_logits(x, rate):
    logits = torch.tensor([x], requires_grad=True)
    p = budget(logits, ALL, rate, 0.9)
    assert abs(p.sum().item() - max(5 * rate, 1)) < 1e-5 and p.max().item() <= 0.9 + 1e-12
    (p * torch.arange(5)).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_rows_without_an_eligible_token_get_nothing():
    eligible = torch.tensor([[False] * 5, [True] * 5])
    logits = torch.full((2, 5), torch.nan)
    logits[1] = 0.0
    p = budget(logits, eligible, 0.3)
    assert p[0].tolist() == [0] * 5 and p[1].tolist() == pytest.approx([0.3] * 5)


def test_a_batch_of_nothing_but_padding():
    assert budget(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool), 0.15).tolist() == [[0.0] * 3] * 2


def test_a_row_of_one_token_is_masked_for_certain_whatever_the_cap():
    logits = torch.tensor([[3.0, 8.0]], requires_grad=True)
    p = budget(logits, torch.tensor([[True, False]]), 0.15, 0.5)
    assert p.tolist() == [[1.0, 0.0]]


def test_the_cap_gives_way_in_a_row_too_short_to_spend_its_budget_below_it():
    p = budget(torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool), 0.15, 0.4)
    assert float(p.sum()) == pytest.approx(1.0) and float(p.max()) > 0.4


@pytest.mark.parametrize(("rate", "p_max"), [(0.15, 1.0), (0.3, 0.6), (0.6, 0.7)])
def test_the_gradient_is_that_of_numeric_differentiation(rate, p_max):
    random = torch.Generator().manual_seed(0)
    logits = (2 * torch.randn(3, 8, generator=random, dtype=torch.float64)).requires_grad_()
    eligible = torch.rand(3, 8, generator=random) < 0.8
    assert torch.autograd.gradcheck(lambda x: budget(x, eligible, rate, p_max), (logits,))


def test_the_gradient_keeps_to_the_budget():
    """Σp is constant, so moving any logit must take from the others what it gives to one."""
    logits = torch.randn(1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    jacobian = torch.autograd.functional.jacobian(lambda x: budget(x, ALL, 0.4)[0], logits)[:, 0]
    torch.testing.assert_close(jacobian.sum(0), torch.zeros(5, dtype=torch.float64), atol=1e-10, rtol=0)
    assert (jacobian.diagonal() > 0.01).all()


@pytest.mark.parametrize(("rate", "p_max"), [(0.0, 0.9), (-0.1, 0.9), (0.9, 0.9), (0.95, 0.9), (0.15, 1.1)])
def test_an_impossible_budget_is_refused_with_its_numbers(rate, p_max):
    with pytest.raises(ValueError, match=f"rate {rate}.*p_max = {p_max}"):
        budget(torch.zeros(1, 5), ALL, rate, p_max)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_logit_that_is_no_number_is_refused(bad):
    with pytest.raises(ValueError, match="NaN or infinite"):
        budget(torch.tensor([[0.0, bad, 0.0, 0.0, 0.0]]), ALL, 0.15)
