import numpy as np
import pytest
import torch

from policylearn.data.tokens import TokenRows
from policylearn.learning.supervised.answers import TARGET
from policylearn.learning.supervised.coverage import coverage

SIZES = (12, 30, 21)


@pytest.fixture(scope="module")
def rows() -> TokenRows:
    """Texts of ordinary tokens, two targets in each, of two tokens and of one."""
    flat = np.random.default_rng(0).integers(5, 40, sum(SIZES)).astype(np.int32)
    numbers = np.concatenate([np.float32([1, 1, 0, 2] + [0] * (size - 4)) for size in SIZES])
    return TokenRows(flat, np.cumsum([0, *SIZES]), {TARGET: numbers})


def test_equal_probabilities_cover_their_rate(make_policy, rows):
    found = coverage(make_policy("none", (), rate=0.2), rows, pad_id=0, draws=400)
    n = sum(SIZES)
    assert found.recall == pytest.approx(0.2, abs=1e-6) and found.rate == pytest.approx(0.2, abs=1e-6)
    assert found.precision == pytest.approx(9 / n)
    alone, pair = 0.2, [(0.2 * s) * (0.2 * s - 1) / (s * (s - 1)) for s in SIZES]  # of masks of fixed size
    assert found.whole == pytest.approx((3 * alone + sum(pair)) / 6, abs=0.02)


def test_a_policy_that_knows_the_targets_spends_all_it_can_on_them(make_policy, rows):
    policy = make_policy("none", ("difference",), rate=0.3, p_max=1.0)
    policy.scores.types.zero_()
    found = coverage(policy, rows, 0, 20, known="difference")
    assert found.recall == pytest.approx(1.0, abs=1e-6) and found.whole == 1.0
    assert found.precision == pytest.approx(9 / (0.3 * sum(SIZES)), rel=1e-6)
    assert coverage(policy, rows, 0, 20).recall == pytest.approx(0.3)


def test_targets_of_different_texts_are_different_targets(make_policy, rows):
    one = [coverage(make_policy("none", ()), rows.take([i]), 0, 60) for i in range(3)]
    together = coverage(make_policy("none", ()), rows, 0, 60)
    assert together.whole == pytest.approx(float(torch.tensor([c.whole for c in one]).mean()), abs=1e-6)
