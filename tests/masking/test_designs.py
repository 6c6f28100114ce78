import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from policylearn.masking import Stream, budget, draw_mask, explore, independent, room, systematic, uniforms
from policylearn.masking.designs import random_order
from policylearn.masking.keys import mix

N = 20_000
UNEQUAL = torch.tensor([0.9, 0.02, 0.5, 0.0, 0.3, 0.7, 0.08, 0.25, 0.65], dtype=torch.float64)


def repeated(p: torch.Tensor, n: int = N) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """p, keys and index of n draws with different keys."""
    return p.expand(n, -1), mix(torch.arange(1, n + 1)), torch.arange(p.shape[-1]).expand(n, -1)


def largest_z(masks: torch.Tensor, p: torch.Tensor) -> float:
    """How many standard errors the worst position's share of masks lies from its p."""
    inner = (p > 0) & (p < 1)
    return float((masks.double().mean(0) - p)[inner].abs().div((p * (1 - p) / len(masks)).sqrt()[inner]).max())


def topk_by_weight(p: torch.Tensor, keys: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """What is often written instead: Σp tokens drawn without replacement with weights p (Efraimidis & Spirakis).
    Of fixed size, plausible, and biased towards equal probabilities."""
    races = uniforms(keys, index, Stream.INCLUDE).log() / p
    size = round(float(p[0].sum()))
    return torch.zeros_like(p, dtype=torch.bool).scatter(1, races.topk(size, dim=1).indices, True)


@st.composite
def rows(draw):
    """Probabilities of one row, a budget spent over eligible positions, with its key and index."""
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    width = draw(st.integers(1, 60))
    eligible = torch.rand(1, width, generator=random) < draw(st.sampled_from([0.1, 0.7, 1.0]))
    rate, spread = draw(st.sampled_from([0.05, 0.15, 0.5])), draw(st.sampled_from([0.0, 1.0, 20.0]))
    two = [budget(spread * torch.randn(1, width, generator=random), eligible, rate, 0.9) for _ in range(2)]
    return *two, torch.tensor([draw(st.integers(-(2**63), 2**63 - 1))]), torch.arange(width)[None]


@pytest.mark.parametrize("design", ["systematic", "independent", "explore"])
def test_inclusion_probabilities_are_the_given_ones(design):
    args = repeated(UNEQUAL)
    for draw in range(3 if design == "explore" else 1):
        assert largest_z(draw_mask(design, *args, draw, draws=3), UNEQUAL) < 4.5


def test_the_inclusion_test_rejects_a_biased_sampler():
    args = repeated(torch.tensor([0.9, 0.05, 0.5, 0.3, 0.25]).double())
    assert largest_z(systematic(*args), args[0][0]) < 4.5
    assert largest_z(topk_by_weight(*args), args[0][0]) > 20


def test_every_pair_of_positions_can_be_masked_together():
    """Without the random order a systematic draw never takes neighbours."""
    masks = systematic(*repeated(torch.full((8,), 0.25).double())).double()
    together = masks.T @ masks
    assert float(together.min()) > 0.5 * N / math.comb(8, 2)


@settings(max_examples=50)
@given(rows())
def test_a_systematic_draw_is_within_one_of_its_expected_size(row):
    p, _, key, index = row
    size, total = int(systematic(p, key, index).sum()), float(p.sum())
    assert math.floor(total + 1e-6) <= size <= math.ceil(total - 1e-6)


@settings(max_examples=50)
@given(rows(), st.integers(0, 5))
def test_arms_of_the_same_budget_mask_equally_many_tokens(row, draw):
    one, other, key, index = row
    for mask in (lambda p: systematic(p, key, index), lambda p: explore(p, key, index, draw, 6)):
        assert int(mask(one).sum()) == int(mask(other).sum())


@settings(max_examples=50)
@given(rows(), st.sampled_from(["systematic", "independent", "explore"]))
def test_what_is_not_eligible_is_never_masked(row, design):
    p, _, key, index = row
    assert not (draw_mask(design, p, key, index) & (p == 0)).any()


def test_systematic_counts_are_whole_where_the_budget_is():
    masks = systematic(*repeated(budget(torch.randn(1, 20), torch.ones(1, 20, dtype=torch.bool), 0.15)[0], 2000))
    assert (masks.sum(1) == 3).all()


def test_a_last_bit_missing_from_the_total_costs_no_token(monkeypatch):
    """With a random start near 0, a total of 2.9999999 would mask two tokens and 3 three."""
    start = torch.full((1, 1), 1e-12, dtype=torch.float64)
    monkeypatch.setattr("policylearn.masking.designs.uniforms", lambda keys, index, stream: start.expand(index.shape))
    for missing in (0.0, 1e-9, -1e-9):
        p, keys, index = repeated(torch.full((6,), 0.5 - missing, dtype=torch.float64), 1)
        assert int(systematic(p, keys, index).sum()) == 3


@pytest.mark.parametrize(("draws", "width"), [(6, 12), (6, 10), (4, 33), (1, 5)])
def test_exploring_equal_probabilities_covers_every_position_once(draws, width):
    p, keys, index = repeated(torch.full((width,), 1 / draws, dtype=torch.float64), 500)
    times = torch.stack([explore(p, keys, index, k, draws) for k in range(draws)]).sum(0)
    assert (times == 1).all()


@settings(max_examples=50)
@given(rows(), st.integers(1, 9))
def test_exploring_takes_every_position_as_often_as_its_probability_says(row, draws):
    p, _, key, index = row
    times = torch.stack([explore(p, key, index, k, draws) for k in range(draws)]).sum(0)
    assert ((draws * p - 1e-6).floor() <= times).all() and (times <= (draws * p + 1e-6).ceil()).all()


@pytest.mark.parametrize("total", [7.5, 8.0])
def test_of_two_draws_one_is_the_complement_of_the_other_whatever_the_budget(total):
    """To the token at a rate of one half; below it, as many of the tokens that the other left out."""
    first, second = (explore(*repeated(torch.full((16,), 0.5).double()), draw, 2) for draw in range(2))
    assert torch.equal(first, ~second)
    p = budget(torch.randn(1, 16), torch.ones(1, 16, dtype=torch.bool), total / 32, 0.5)[0]
    first, second = (explore(*repeated(p), draw, 2) for draw in range(2))
    assert not (first & second).any() and max(largest_z(mask, p) for mask in (first, second)) < 4.5
    assert int((first.sum(1) - second.sum(1)).abs().max()) <= 1


def test_independent_coins_are_uncorrelated_and_of_random_size():
    masks = independent(*repeated(torch.full((6,), 0.5).double())).double()
    off_diagonal = torch.corrcoef(masks.T) - torch.eye(6)
    assert float(off_diagonal.abs().max()) < 4.5 / math.sqrt(N)
    assert len(masks.sum(1).unique()) == 7


@pytest.mark.parametrize("design", ["systematic", "independent", "explore"])
def test_padding_does_not_move_the_mask(design):
    p, keys, index = repeated(UNEQUAL, 200)
    nothing, before = torch.zeros(200, 3).double(), torch.full((200, 3), -1)
    left = draw_mask(design, torch.cat([nothing, p], 1), keys, torch.cat([before, index], 1))[:, 3:]
    right = draw_mask(design, torch.cat([p, nothing], 1), keys, torch.cat([index, before + len(UNEQUAL)], 1))[:, :-3]
    plain = draw_mask(design, p, keys, index)
    assert torch.equal(left, plain) and torch.equal(right, plain)


@st.composite
def eligibles(draw):
    """Logits and eligibility of a few rows, one of them empty, with keys and index."""
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rows, width = draw(st.integers(1, 4)), draw(st.integers(1, 120))
    eligible = torch.rand(rows, width, generator=random) < draw(st.sampled_from([0.05, 0.5, 1.0]))
    eligible[0] &= draw(st.booleans())
    logits = draw(st.sampled_from([0.0, 1.0, 10.0, 1e5])) * torch.randn(rows, width, generator=random)
    keys = torch.randint(-(2**62), 2**62, (rows,), generator=random)
    return logits, eligible, keys, torch.arange(width).expand(rows, width)


@settings(max_examples=200)
@given(eligibles(), st.floats(0.01, 0.89))
def test_masks_are_of_the_size_the_rate_says_at_every_rate(batch, rate):
    logits, eligible, keys, index = batch
    mask = systematic(budget(logits, eligible, rate, 0.9), keys, index)
    n = eligible.sum(1)
    wanted = torch.where(n > 0, (rate * n.double()).clamp(min=1.0), 0.0)
    assert ((wanted - 1e-6).floor() <= mask.sum(1)).all() and (mask.sum(1) <= (wanted + 1e-6).ceil()).all()
    assert not (mask & ~eligible).any()
    assert (mask.sum(1)[n > 0] >= 1).all()


@settings(max_examples=100)
@given(eligibles(), st.floats(0.01, 0.89), st.integers(0, 2**31))
def test_with_sizes_too_every_row_that_can_be_masked_is(batch, rate, seed):
    logits, eligible, keys, index = batch
    sizes = torch.randint(1, 9, logits.shape, generator=torch.Generator().manual_seed(seed))
    mask = systematic(budget(logits, eligible, rate, 0.9, sizes), keys, index)
    assert not (mask & ~eligible).any() and (mask.sum(1)[eligible.any(1)] >= 1).all()


SIZES = torch.tensor([1, 1, 3, 2, 7, 1, 4, 1, 2, 12, 1, 1])
LOGITS = torch.tensor([0.0, 2.0, -1.0, 1.0, 0.5, -2.0, 1.0, 3.0, 0.0, 1.5, -0.5, 0.0])


def token_z(masks: torch.Tensor, total: float) -> float:
    """How many standard errors the mean number of masked tokens lies from `total`."""
    tokens = (masks * SIZES).sum(1).double()
    return float((tokens.mean() - total).abs() / (tokens.std() / len(tokens) ** 0.5))


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("design", ["systematic", "independent"])
def test_with_sizes_the_expected_number_of_tokens_is_the_rate_and_inclusion_is_p(design, rate):
    p = budget(LOGITS[None], SIZES[None] > 0, rate, 0.9, SIZES[None])[0]
    masks = draw_mask(design, *repeated(p))
    assert token_z(masks, rate * 36) < 4.5 and largest_z(masks, p) < 4.5


def test_the_token_test_rejects_what_is_often_written_instead():
    """Masking a share of the units, and drawing with weights instead of probabilities."""
    p = budget(LOGITS[None], SIZES[None] > 0, 0.3, 0.9, SIZES[None])[0]
    ignorant = budget(LOGITS[None], SIZES[None] > 0, 0.3, 0.9)[0]
    assert token_z(systematic(*repeated(ignorant)), 0.3 * 36) > 10
    weighted = topk_by_weight(*repeated(p))
    assert token_z(weighted, 0.3 * 36) > 10 and largest_z(weighted, p) > 10


def test_the_random_order_is_every_permutation_equally_often():
    _, keys, index = repeated(torch.zeros(4))
    order = random_order(keys, index)
    assert torch.equal(order.sort(1).values, index)
    times = (order @ torch.tensor([64, 16, 4, 1])).unique(return_counts=True)[1]
    assert stats.chisquare(times.numpy()).pvalue > 1e-3 and len(times) == 24


def test_the_random_order_is_that_of_the_stream_of_uniforms_but_for_ties():
    _, keys, index = repeated(torch.zeros(700), 20)
    sixteen_bits = (uniforms(keys, index, Stream.ORDER) * 2**16).floor()
    order = random_order(keys, index)
    assert torch.equal(order, sixteen_bits.argsort(dim=1, stable=True))
    assert torch.equal(order.sort(1).values, index)


@pytest.mark.parametrize("design", ["systemtic", None, ["explore"]])
def test_designs_that_there_are_not(design):
    args = repeated(UNEQUAL, 2)
    with pytest.raises(ValueError, match=r"design .*: take one of systematic, independent, explore"):
        draw_mask(design, *args)
    with pytest.raises(ValueError, match=r"design .*: take one of systematic, independent, explore"):
        room(design, args[0], args[0] > 1, *args[1:])


@pytest.mark.parametrize("design", ["systematic", "independent", "explore"])
@pytest.mark.parametrize("wrong", [math.nan, -0.5, 1.5])
def test_what_is_no_probability(design, wrong):
    p, keys, index = repeated(torch.tensor([0.5, wrong]), 2)
    with pytest.raises(ValueError, match=f"p holds {wrong:g}: give probabilities"):
        draw_mask(design, p, keys, index)


@pytest.mark.parametrize("draw", [1, torch.tensor([1, 2])])
def test_no_draws(draw):
    with pytest.raises(ValueError, match="draws 0 must be at least 1"):
        draw_mask("explore", *repeated(UNEQUAL, 2), draw, 0)


def test_the_room_of_a_fixed_size_is_the_probability_of_the_mask_where_the_sum_is_not_whole():
    keys = mix(torch.arange(1, 41))
    index, p = torch.arange(2).expand(40, 2), torch.tensor([[0.3, 0.2]]).expand(40, 2).double()
    mask = systematic(p, keys, index)
    likely = torch.where(mask.any(1), (p * mask).sum(1), 0.5)
    torch.testing.assert_close(room("systematic", p, mask, keys, index).sum(2)[:, 0], likely)
    assert likely.unique().tolist() == pytest.approx([0.2, 0.3, 0.5])


def test_the_order_is_that_of_numpy_where_numpy_cannot_read(monkeypatch):
    keys, index = mix(torch.arange(1, 9)), torch.arange(50).expand(8, 50)
    usual = random_order(keys, index)
    monkeypatch.setattr("policylearn.masking.designs.numpy_can_read", lambda x: False)
    assert torch.equal(random_order(keys, index), usual)
