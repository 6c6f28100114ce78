import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit

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


@settings(max_examples=50)
@given(batches())
def test_the_budget_is_spent_exactly_and_only_where_allowed(batch):
    logits, eligible, rate, p_max = batch
    p = budget(logits, eligible, rate, p_max)
    n = eligible.sum(1)
    wanted = torch.where(n > 0, (rate * n.double()).clamp(min=1), 0)
    torch.testing.assert_close(p.sum(1), wanted, atol=1e-5, rtol=0)
    assert (p[~eligible] == 0).all() and (p >= 0).all() and (p <= 1).all()


@settings(max_examples=50)
@given(batches())
def test_no_probability_exceeds_the_cap_where_the_budget_fits_below_it(batch):
    logits, eligible, rate, p_max = batch
    p = budget(logits, eligible, rate, p_max)
    fits = masked_total(eligible, rate) < 0.99 * p_max * eligible.sum(1)
    assert (p[fits] <= p_max).all()


@settings(max_examples=50)
@given(batches())
def test_probabilities_are_ordered_as_the_logits(batch):
    logits, eligible, rate, p_max = batch
    p = budget(logits, eligible, rate, p_max)
    for x, y, e in zip(logits, p, eligible, strict=True):
        # Two alike may differ in the last bit, by where they stand in the vector registers.
        assert (y[e][x[e].argsort()].diff() >= -1e-15).all()


@settings(max_examples=50)
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
    assert masked_total(eligible, 0.3).tolist() == [0.0, 1.5]


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


def test_a_cap_close_to_the_rate_holds():
    p = budget(torch.tensor([[3.0, 0.0, 0.0, -1.0, 9.0]]), ALL, 0.8995, 0.9)
    assert float(p.max()) <= 0.9 and float(p.sum()) == pytest.approx(5 * 0.8995, abs=1e-9)


def test_equal_logits_share_equally_to_the_last_bit():
    logits = torch.full((2, 300), -7.3)
    logits[1] = torch.linspace(-3, 3, 300)
    p = budget(logits, torch.ones(2, 300, dtype=torch.bool), 0.15, 0.9)
    assert torch.equal(p[0], budget(logits[:1], torch.ones(1, 300, dtype=torch.bool), 0.15, 0.9)[0])
    assert len(p[0].unique()) == 1 and float(p[0, 0]) == pytest.approx(0.15, abs=1e-15)


def solved_by_brent(x, z, total, cap) -> list[float]:
    """p of one row, found without any of our code."""
    shift = brentq(lambda s: cap * (z * expit(x - s)).sum() - total, x.min() - 60, x.max() + 60, xtol=1e-13)
    return cap * expit(x - shift)


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.sampled_from([0.1, 2.0, 20.0]), st.floats(0.01, 0.85))
def test_an_independent_solver_finds_the_same(seed, spread, rate):
    random = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(3, 30, generator=random, dtype=torch.float64)
    sizes = torch.randint(1, 6, (3, 30), generator=random)
    for z in (torch.ones_like(sizes), sizes):
        p = budget(logits, torch.ones_like(logits, dtype=torch.bool), rate, 0.9, sizes=z)
        for row in range(3):
            x, w = logits[row].numpy(), z[row].numpy()
            wanted = solved_by_brent(x, w, rate * w.sum(), 0.9)
            if wanted.sum() < 1 and rate * 30 < 1:
                wanted = solved_by_brent(x, 1, 1.0, 0.9)
            elif wanted.sum() < 1:  # as much of equal chances as makes it one
                wanted = wanted + (1 - wanted.sum()) / (rate * 30 - wanted.sum()) * (rate - wanted)
            assert p[row].numpy() == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("base", [0.0, 1e8, 1e12, -1e15])
@pytest.mark.parametrize("rate", [0.2, 0.4, 0.7])
def test_small_differences_of_large_logits_survive(base, rate):
    small = torch.tensor([[-8.0, 0.0, 2.0, 4.0, 8.0]], dtype=torch.float64)
    torch.testing.assert_close(budget(base + small, ALL, rate), budget(small, ALL, rate), atol=1e-9, rtol=0)
    # ... also next to logits that are larger still.
    far = torch.tensor([[-1e300, 0.0, 2.0, 4.0, 1e300]], dtype=torch.float64)
    p, middle = budget(far, ALL, rate, 0.9)[0], 5 * rate - 0.9
    assert float(p.sum()) == pytest.approx(5 * rate, abs=1e-9) and p[0] < 1e-9
    if middle < 3 * 0.9:
        assert p[1:4].numpy() == pytest.approx(solved_by_brent(far[0, 1:4].numpy(), 1, middle, 0.9), abs=1e-9)


@settings(max_examples=50)
@given(batches())
def test_a_row_does_not_depend_on_its_neighbours(batch):
    logits, eligible, rate, p_max = batch
    together = budget(logits, eligible, rate, p_max)
    for row in range(len(logits)):
        one = slice(row, row + 1)
        alone = budget(logits[one], eligible[one], rate, p_max)
        # Not to the last bit: where a row begins in memory decides which elements are added up together.
        torch.testing.assert_close(alone, together[one], atol=1e-13, rtol=0)


@st.composite
def unit_batches(draw):
    """A batch whose positions are leads of units of 1 to 9 tokens, with the units' sizes."""
    logits, eligible, rate, p_max = draw(batches())
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return logits, eligible, rate, p_max, torch.randint(1, 10, logits.shape, generator=random)


@settings(max_examples=100)
@given(unit_batches())
def test_with_sizes_tokens_are_spent_exactly_and_no_row_is_read_in_vain(batch):
    logits, eligible, rate, p_max, sizes = batch
    p = budget(logits, eligible, rate, p_max, sizes)
    tokens, units = (p * sizes).sum(1), p.sum(1)
    wanted = rate * (sizes * eligible).sum(1).double()
    floor = (units - 1).abs() < 1e-9
    torch.testing.assert_close(tokens[~floor], wanted[~floor], atol=1e-7, rtol=0)
    assert (units[eligible.any(1)] > 1 - 1e-9).all()
    # Only where a row has so few units that the cap must give way may one unit be worth fewer tokens than the rate.
    capped = eligible.sum(1) * p_max >= 1
    assert (tokens >= wanted - 1e-7)[capped].all()
    assert (p[~eligible] == 0).all() and (p >= 0).all() and (p <= 1).all()
    assert (p[p_max * eligible.sum(1) > 1] <= p_max).all()


@settings(max_examples=50)
@given(batches())
def test_units_of_one_token_are_tokens(batch):
    logits, eligible, rate, p_max = batch
    p = budget(logits, eligible, rate, p_max, torch.ones_like(logits, dtype=torch.int64))
    torch.testing.assert_close(p, budget(logits, eligible, rate, p_max), atol=1e-9, rtol=0)


def test_a_small_budget_becomes_one_unit_whatever_its_size():
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    p = budget(logits, torch.ones(1, 3, dtype=torch.bool), 0.1, 0.9, torch.tensor([[2, 2, 6]]))
    one = budget(logits, torch.ones(1, 3, dtype=torch.bool), 0.1, 0.9)
    assert p.tolist() == one.tolist() and float(p.sum()) == pytest.approx(1.0)


UNITS = torch.tensor([[1, 2, 5, 1, 3, 1, 8, 2]])


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.6])  # at .02 every row is at the floor
def test_the_gradient_with_sizes_is_that_of_numeric_differentiation(rate):
    random = torch.Generator().manual_seed(0)
    logits = (2 * torch.randn(3, 8, generator=random, dtype=torch.float64)).requires_grad_()
    eligible = torch.rand(3, 8, generator=random) < 0.8
    spend = lambda x: budget(x, eligible, rate, 0.9, UNITS.expand(3, 8))  # noqa: E731
    assert torch.autograd.gradcheck(spend, (logits,)) and torch.autograd.gradgradcheck(spend, (logits,))


def test_the_gradient_with_sizes_keeps_to_the_budget_of_tokens():
    logits = torch.randn(1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    everything = torch.ones(1, 8, dtype=torch.bool)
    spend = lambda x: budget(x, everything, 0.4, 0.9, UNITS)[0]  # noqa: E731
    jacobian = torch.autograd.functional.jacobian(spend, logits)[:, 0]
    torch.testing.assert_close(UNITS[0].double() @ jacobian, torch.zeros(8, dtype=torch.float64), atol=1e-10, rtol=0)
    assert jacobian.sum(0).abs().max() > 0.01  # the number of units does move


def test_a_position_that_leads_no_unit_is_refused():
    with pytest.raises(ValueError, match="eligible unit has no tokens"):
        budget(torch.zeros(1, 5), ALL, 0.15, sizes=torch.tensor([[2, 0, 1, 1, 1]]))


ROWS, TWO = torch.ones(2, 4), torch.ones(2, 4, dtype=torch.bool)
NO_BUDGET = {
    "a rate for each column": ((ROWS, TWO, torch.tensor([0.25, 0.5])), r"rate has shape \[2\]: .* row, \[2, 1\]"),
    "rates of fewer rows": ((ROWS, TWO, torch.tensor([[0.25]])), r"rate has shape \[1, 1\]: .* row, \[2, 1\]"),
    "a rate that is none": ((ROWS, TWO, torch.tensor([[0.25], [torch.nan]])), "masking rates .*nan.* between 0 and 1"),
    "a rate above 1": ((ROWS, TWO, torch.tensor([[0.25], [1.5]])), r"masking rates \[0\.25, 1\.5\] must lie between"),
    "eligible of one row": ((ROWS, TWO[:1], 0.25), r"eligible has shape \[1, 4\], the logits \[2, 4\]"),
    "eligible by numbers": ((ROWS, TWO.long(), 0.25), r"eligible is of torch\.int64: give booleans"),
    "one text alone": ((ROWS[0], TWO[0], 0.25), r"logits have shape \[4\]: give \[B, T\]"),
    "sizes of one row": ((ROWS, TWO, 0.25, 1.0, TWO[:1].long()), r"sizes has shape \[1, 4\], the logits \[2, 4\]"),
}


@pytest.mark.parametrize(("given", "said"), NO_BUDGET.values(), ids=NO_BUDGET)
def test_what_torch_would_stretch_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        budget(*given)


@pytest.mark.parametrize("shape", [(0, 4), (2, 0), (0, 0)])
def test_of_no_tokens_none_are_masked(shape):
    assert budget(torch.zeros(shape), torch.zeros(shape, dtype=torch.bool), 0.25).shape == shape
