"""What is hidden for a masked-diffusion model, against the enumeration of all masks of a tiny text."""

import math
from itertools import pairwise, permutations, product

import pytest
import torch

from policylearn.policy.diffusion import diffuse

PLACES, DRAWS = 4, 40_000


def systematic_masks(p):
    """{mask: probability} of the systematic design: every order, and every start between two at which it changes."""
    found = {}
    for order in permutations(range(len(p))):
        ends = torch.tensor([p[i] for i in order], dtype=torch.float64).cumsum(0)
        cuts = sorted({0.0, 1.0, *(float(-end % 1.0) for end in ends)})
        for low, high in pairwise(cuts):
            ticks = [0, *((ends + (low + high) / 2 + 1e-12).floor().long().tolist())]
            hidden = {i for i, (before, after) in zip(order, pairwise(ticks), strict=True) if after > before}
            mask = tuple(i in hidden for i in range(len(p)))
            found[mask] = found.get(mask, 0.0) + (high - low) / math.factorial(len(p))
    return found


def independent_masks(p):
    masks = product([False, True], repeat=len(p))
    return {mask: math.prod(q if m else 1 - q for q, m in zip(p, mask, strict=True)) for mask in masks}


MASKS = {"systematic": systematic_masks, "independent": independent_masks}


def estimated(masks_at, losses, weighting):
    """1/n Σ_i mean_t (share_i) E[CE_i | m_i = 1, t], of masks at every rate 1/n … n/n; the share is 1, or
    P(m_i = 1) / t. No use is made of p: P(m_i = 1) is counted."""
    n, total = len(masks_at), 0.0
    for k, masks in enumerate(masks_at, 1):
        for i in range(n):
            hidden = sum(q for mask, q in masks.items() if mask[i])
            mean = sum(q * losses[mask][i] for mask, q in masks.items() if mask[i]) / hidden
            total += mean * (1.0 if weighting == "inclusion" else hidden * n / k) / n
    return total / n


@pytest.fixture(scope="module")
def text():
    ids = torch.tensor([[2, 9, 17, 30, 12, 3, 0]])
    return ids, ids != 0


@pytest.fixture(scope="module")
def losses():
    """CE [n] of every mask of n tokens, of no particular model, to which some tokens come harder than others."""
    random, hard = torch.Generator().manual_seed(1), torch.tensor([1.0, 2.0, 4.0, 8.0])
    masks = product([False, True], repeat=PLACES)
    return {mask: (hard * torch.rand(PLACES, generator=random)).tolist() for mask in masks}


def drawn_losses(hidden, losses, weighting):
    """Σ_i w_i CE_i / n of each row."""
    masks, weights = hidden.mask[:, 1 : PLACES + 1], hidden.weights(weighting)[:, 1 : PLACES + 1].double()
    known = torch.tensor([losses[tuple(mask)] for mask in masks.tolist()], dtype=torch.float64)
    return (weights * known).sum(1) / PLACES


def draw(policy, text, draws=DRAWS, **settings):
    ids, real = (x.expand(draws, -1).contiguous() for x in text)
    return diffuse(policy, ids, real, 0, torch.arange(draws), **settings)


def masks_at(policy, text, design):
    """{mask: probability} at every rate."""
    rates = torch.arange(1, PLACES + 1).double()[:, None] / PLACES
    p = policy.probabilities(*(x.expand(PLACES, -1) for x in text), rate=rates)[:, 1 : PLACES + 1]
    return [MASKS[design](row) for row in p.tolist()]


@pytest.mark.parametrize("design", MASKS)
@pytest.mark.parametrize("weighting", ["inclusion", "rate"])
def test_the_loss_is_unbiased_for_what_it_says(make_policy, text, losses, design, weighting):
    policy = make_policy("none", masking={"design": design})
    at = masks_at(policy, text, design)
    p = policy.probabilities(*text, rate=0.5)[0, 1 : PLACES + 1]
    assert p.max() > 2 * p.min()
    other, exact = (estimated(at, losses, name) for name in sorted(["rate", "inclusion"], key=weighting.__eq__))
    found = drawn_losses(draw(policy, text), losses, weighting)
    error = found.std() / DRAWS**0.5
    assert abs(found.mean() - exact) < 4 * error < abs(other - exact)


def test_with_equal_p_it_is_the_bound_of_all_orders(make_policy, text, losses):
    """The chain rule in a random order: its terms are those of uniform masks of every size."""
    orders = list(permutations(range(PLACES)))
    chain = 0.0
    for order in orders:
        for told in range(PLACES):
            mask = tuple(i in order[told:] for i in range(PLACES))
            chain += losses[mask][order[told]] / PLACES / len(orders)
    at = masks_at(make_policy("none", ()), text, "systematic")
    assert estimated(at, losses, "inclusion") == pytest.approx(estimated(at, losses, "rate")) == pytest.approx(chain)


def coins(mask):
    """-log P of a token given what a mask shows, of a constant and one coin that stands there twice."""
    known = math.log(2) * (mask[1] and mask[2])
    return [0.0, known, known]


@pytest.mark.parametrize(("p", "times"), [((2 / 3, 2 / 3, 2 / 3), 1.0), ((1.0, 0.5, 0.5), 2 / 3)])
def test_with_other_p_it_is_no_bound(p, times):
    """-log P = log 2 of the text; a policy that likes the constant shows one coin beside the other whenever it can."""
    at = [systematic_masks(row) for row in ((1 / 3,) * 3, p, (1.0,) * 3)]
    table = {mask: coins(mask) for mask in product([False, True], repeat=3)}
    assert 3 * estimated(at, table, "inclusion") == pytest.approx(times * math.log(2))


@pytest.mark.parametrize("prior", [(), ("difference",)])
def test_complements_in_the_mean(make_policy, text, losses, prior):
    policy = make_policy("none", prior)
    at = masks_at(policy, text, "systematic")
    rest = [{tuple(not m for m in mask): q for mask, q in masks.items()} for masks in at[-2::-1]] + at[-1:]
    exact = (estimated(at, losses, "inclusion") + estimated(rest, losses, "inclusion")) / 2
    pairs = drawn_losses(draw(policy, text).with_complements(), losses, "inclusion").view(-1, 2).mean(1)
    assert abs(pairs.mean() - exact) < 4 * pairs.std() / DRAWS**0.5


@pytest.mark.parametrize("unit", ["token", "word"])
@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_probabilities_spend_the_rate(make_policy, trained_examples, unit, floor):
    policy = make_policy("context", learned=True, masking={"unit": unit}, hidden=8, kernel=3)
    ids = torch.tensor([row["input_ids"] for row in trained_examples])
    hidden = diffuse(policy, ids, ids > 0, 0, 0, floor=floor)
    torch.testing.assert_close(hidden.p.sum(1), 20 * hidden.t)
    assert torch.equal(hidden.mask.sum(1), (20 * hidden.t).round().long())
    assert torch.equal(hidden.p > 0, policy.eligible(ids, ids > 0))
    assert (hidden.p >= floor * hidden.t[:, None] * (hidden.p > 0) - 1e-6).all()
    assert torch.equal(hidden.show(ids, 4), torch.where(hidden.mask, 4, ids))
    assert torch.equal(hidden.labels(ids), torch.where(hidden.mask, ids, -100))


def test_complements_hide_what_was_shown(make_policy, trained_examples):
    ids = torch.tensor([row["input_ids"] for row in trained_examples])
    alone = diffuse(make_policy("none"), ids, ids > 0, 0, 0, floor=0.2)
    pairs = alone.with_complements()
    assert all(torch.equal(both[::2], one) for both, one in zip(pairs, alone, strict=True))
    partial = alone.t < 1
    assert 0 < int(partial.sum()) < 32
    assert (pairs.mask[::2] ^ pairs.mask[1::2])[partial][:, 1:-1].all()
    assert pairs.mask[1::2][~partial][:, 1:-1].all()
    assert (pairs.weights()[1::2] <= 1 / (0.2 * pairs.t[1::2, None]) + 1e-4).all()


def test_ends_are_hidden_at_the_rate(make_policy, text):
    found = draw(make_policy("none"), text, ends=True)
    assert set((6 * found.t).round().int().tolist()) == {1, 2, 3, 4, 5, 6}  # [CLS] and [SEP] count
    assert torch.equal(found.p[:, [0, 5]], found.t[:, None].expand(-1, 2))
    assert not found.mask[:, 6].any() and (found.p[:, 6] == 0).all()
    for k in range(1, 7):
        own = found.mask[(6 * found.t).round() == k].double().mean(0)
        assert own[[0, 5]].tolist() == pytest.approx([k / 6] * 2, abs=0.03)
