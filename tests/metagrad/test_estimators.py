import math
from itertools import combinations, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policylearn.masking import budget
from policylearn.metagrad.estimators import (
    advantages,
    credit_surrogate,
    entropy,
    kl_divergence,
    relaxed_parts,
    relaxed_surrogate,
)

N = 6
SIZE = 3  # Σ p
PHI = torch.tensor([0.7, -0.2, 0.1, 1.3, -0.9, 0.4], dtype=torch.float64)
CREDIT = torch.tensor([0.3, -1.1, 0.8, 2.0, -0.4, 0.9], dtype=torch.float64)


def probabilities(phi: torch.Tensor) -> torch.Tensor:
    return budget(phi[None], torch.ones(1, N, dtype=torch.bool), rate=0.5)


def true_gradient(credit: torch.Tensor) -> torch.Tensor:
    """Σ_i g_i ∂p_i/∂φ."""
    phi = PHI.clone().requires_grad_()
    (probabilities(phi)[0] * credit).sum().backward()
    return phi.grad


def estimate(mask: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """What one mask says; times Σp, for the surrogate is per masked token."""
    phi = PHI.clone().requires_grad_()
    (SIZE * credit_surrogate(probabilities(phi), mask, gradient)).backward()
    return phi.grad


def independent_masks(p: torch.Tensor):
    """Every mask with its probability under one coin per token."""
    for bits in product([False, True], repeat=N):
        mask = torch.tensor([bits])
        yield mask, torch.where(mask, p, 1 - p).prod().item()


def fixed_size_masks(size: int):
    """Every mask of one size, equally likely."""
    for chosen in combinations(range(N), size):
        mask = torch.zeros(1, N, dtype=torch.bool)
        mask[0, list(chosen)] = True
        yield mask, 1 / math.comb(N, size)


def test_the_mean_over_all_masks_is_the_true_gradient():
    p = probabilities(PHI)
    mean = sum(chance * estimate(mask, CREDIT[mask[0]]) for mask, chance in independent_masks(p) if mask.any())
    torch.testing.assert_close(mean, true_gradient(CREDIT))
    # without the division by p it is another vector
    biased = sum(chance * estimate(m, (CREDIT * p[0])[m[0]]) for m, chance in independent_masks(p) if m.any())
    assert (biased - mean).norm() > 0.1 * mean.norm()
    # and so it is if each mask is averaged over the tokens it happens to have
    uneven = [(chance, m, SIZE / int(m.sum())) for m, chance in independent_masks(p) if m.any()]
    assert (sum(c * by * estimate(m, CREDIT[m[0]]) for c, m, by in uneven) - mean).norm() > 0.05 * mean.norm()


def test_the_mean_of_the_relaxed_gradient_is_that_of_predicting_and_of_hiding():
    hidden = CREDIT.flip(0)[None]

    def relaxed(mask: torch.Tensor) -> torch.Tensor:
        phi = PHI.clone().requires_grad_()
        (SIZE * relaxed_surrogate(probabilities(phi), mask, CREDIT[mask[0]], hidden)).backward()
        return phi.grad

    mean = sum(chance * relaxed(mask) for mask, chance in independent_masks(probabilities(PHI)))
    torch.testing.assert_close(mean, true_gradient(CREDIT + hidden[0]))


def test_what_predicting_and_hiding_are_worth_is_in_one_unit():
    masks = [torch.tensor([[True, False, True, False, False, True]]), torch.tensor([[False, True, True] + 3 * [False]])]
    gradients = [torch.stack([CREDIT, CREDIT.flip(0)])[:, None], torch.stack([CREDIT.roll(1), CREDIT.roll(2)])[:, None]]
    drawn = [CREDIT[masks[0][0]], CREDIT.roll(1)[masks[1][0]]]
    parts, unit = relaxed_parts(masks, gradients), torch.cat(drawn).std(correction=0)
    for (weights, hidden), wanted, gradient in zip(parts, advantages(drawn), gradients, strict=True):
        torch.testing.assert_close(weights, wanted)
        torch.testing.assert_close(hidden * unit, gradient[1])


def test_a_constant_taken_off_every_credit_changes_nothing_on_average():
    """Because Σp is fixed. Without that it would."""
    p = probabilities(PHI)
    shifted = sum(chance * estimate(m, (CREDIT - 5)[m[0]]) for m, chance in independent_masks(p) if m.any())
    torch.testing.assert_close(shifted, true_gradient(CREDIT))
    free = torch.zeros(N, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad((free.sigmoid() * (CREDIT - 5)).sum(), free)[0].sum() < -1


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_mean_of_the_drawn_credits_shortens_the_gradient_of_equal_probabilities_by_a_known_factor(size):
    """A mean over the M drawn tokens is not quite a constant: it costs a factor (1 - 1/M) / (1 - 1/N) of length,
    no direction. With the hundreds of tokens of a window that is nothing."""
    slopes = torch.randn(N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    slopes -= slopes.mean()  # Σ p is fixed
    p = torch.full((1, N), size / N, dtype=torch.float64)

    def seen(mask: torch.Tensor, gradient: torch.Tensor) -> float:
        x = torch.zeros((), dtype=torch.float64, requires_grad=True)
        credit_surrogate(p + x * slopes, mask, gradient).mul(size).backward()
        return x.grad.item()

    truth = (CREDIT * slopes).sum().item()
    raw = sum(chance * seen(m, CREDIT[m[0]]) for m, chance in fixed_size_masks(size))
    centred = sum(
        chance * seen(m, advantages([CREDIT[m[0]]])[0] * scale(CREDIT[m[0]])) for m, chance in fixed_size_masks(size)
    )
    assert raw == pytest.approx(truth)
    assert centred == pytest.approx(truth * (1 - 1 / size) / (1 - 1 / N))


def scale(credits: torch.Tensor) -> torch.Tensor:
    """What `advantages` divides by."""
    return (credits - credits.mean()).square().mean().sqrt()


def test_advantages_have_mean_zero_and_unit_scale_over_a_whole_window():
    parts = advantages([torch.tensor([1.0, 5.0]), torch.tensor([]), torch.tensor([-3.0, 0.5, 9.0])])
    assert [len(part) for part in parts] == [2, 0, 3]
    everything = torch.cat(parts)
    assert everything.mean().item() == pytest.approx(0, abs=1e-6)
    assert everything.square().mean().item() == pytest.approx(1)


def test_advantages_know_neither_offset_nor_unit():
    (plain,), (changed,) = advantages([CREDIT]), advantages([1e-4 * CREDIT + 3])
    torch.testing.assert_close(changed, plain)
    (turned,) = advantages([-CREDIT])
    torch.testing.assert_close(turned, -plain)


@pytest.mark.parametrize("credits", [[0.0, 0.0], [2.5, 2.5, 2.5], [1.0]])
def test_credits_that_say_nothing_give_no_advantage(credits):
    assert advantages([torch.tensor(credits)])[0].tolist() == [0.0] * len(credits)


def test_a_batch_without_masked_tokens_has_no_gradient():
    phi = PHI.clone().requires_grad_()
    credit_surrogate(probabilities(phi), torch.zeros(1, N, dtype=torch.bool), torch.zeros(0)).backward()
    assert phi.grad.tolist() == [0.0] * N


probability = st.floats(0.0, 1.0)


@given(st.lists(st.tuples(probability, probability), min_size=1, max_size=5))
def test_the_kl_divergence_is_never_negative(pairs):
    p, q = torch.tensor(pairs, dtype=torch.float64).T
    kl = kl_divergence(p, q).item()
    assert math.isfinite(kl)
    assert kl >= -1e-12
    assert kl_divergence(p, p).item() == 0


def test_the_kl_divergence_by_hand():
    p, q = torch.tensor([0.2, 0.5]), torch.tensor([0.4, 0.5])
    expected = (0.2 * math.log(0.2 / 0.4) + 0.8 * math.log(0.8 / 0.6) + 0) / 2
    assert kl_divergence(p, q).item() == pytest.approx(expected)


@given(st.lists(probability, min_size=1, max_size=5))
def test_entropy_lies_between_none_and_that_of_a_fair_coin(p):
    assert 0 <= entropy(torch.tensor(p, dtype=torch.float64)).item() <= math.log(2) + 1e-12


def test_entropy_by_hand():
    assert entropy(torch.tensor([0.0, 1.0])).item() == 0
    assert entropy(torch.tensor([0.5])).item() == pytest.approx(math.log(2))
    assert entropy(torch.tensor([0.1])).item() == pytest.approx(-0.1 * math.log(0.1) - 0.9 * math.log(0.9))


@pytest.mark.parametrize("huge", [1e30, float("inf"), float("nan")])
def test_outer_gradients_that_explode_are_told_and_do_not_become_zeros(huge):
    with pytest.raises(FloatingPointError, match=r"lower inner\.window"):
        advantages([torch.tensor([1.0, huge])])
