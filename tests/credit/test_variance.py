import numpy as np
import pytest

from policylearn.credit.sums import Sums
from policylearn.credit.variance import Shares, halves_needed, interval, net_of, variance_shares


def cells(rng, signal, label, text, rest, types=40_000):
    """Mean credits [K, 2, 2] with components of known variance."""
    parts = ((signal, (1, 1)), (label, (2, 1)), (text, (1, 2)), (rest, (2, 2)))
    return sum(variance**0.5 * rng.normal(size=(types, *shape)) for variance, shape in parts)


def reliability(shares, labels, text):
    """With so many halves' worth of labelled examples and of MLM batches."""
    noise = shares.label / labels + shares.text / text + shares.rest / (labels * text)
    return shares.signal / (shares.signal + noise)


def test_variance_shares_find_the_components_they_were_made_from():
    shares = variance_shares(cells(np.random.default_rng(3), 0.8, 1.6, 0.4, 1.2))
    assert list(vars(shares).values()) == pytest.approx([0.2, 0.4, 0.1, 0.3], abs=0.02)


def test_the_forecast_comes_true_with_twice_the_data():
    """Twice the labels is a label variance of half, and what comes with both halves."""
    shares = Shares(0.2, 0.4, 0.1, 0.3)
    doubled = variance_shares(cells(np.random.default_rng(4), 0.2, 0.2, 0.1, 0.15))
    assert reliability(shares, 2, 1) == pytest.approx(doubled.signal, abs=0.02)


@pytest.mark.parametrize(
    "shares", [Shares(0.2, 0.4, 0.1, 0.3), Shares(0.05, 0.5, 0.25, 0.2), Shares(0.6, 0.1, 0.2, 0.1)]
)
def test_what_is_said_to_be_needed_reaches_the_goal(shares):
    both = halves_needed(shares, 0.5)
    assert reliability(shares, both, both) == pytest.approx(0.5)
    for text in (1.0, 2.0, 8.0):
        labels = halves_needed(shares, 0.5, text=text)
        most = reliability(shares, 1e12, text)
        assert most < 0.5 if np.isinf(labels) else reliability(shares, labels, text) == pytest.approx(0.5)
        batches = halves_needed(shares, 0.5, labels=text)
        most = reliability(shares, text, 1e12)
        assert most < 0.5 if np.isinf(batches) else reliability(shares, text, batches) == pytest.approx(0.5)


def test_the_interval_covers_the_truth_and_shrinks_with_types():
    rng = np.random.default_rng(5)
    few, many = (cells(rng, 0.3, 0.2, 0.1, 0.4, types) for types in (100, 4000))
    truth = 2 * 0.3 / 1.3
    (low, high), (lower, upper) = interval(many, 200), interval(few, 200)
    assert low < truth < high and high - low < (upper - lower) / 3


def test_what_goes_by_way_of_the_controls_is_no_signal():
    """x and y agree on the task and on the state of the model; the control knows the latter."""
    rng = np.random.default_rng(7)
    task, state = rng.normal(size=(2, 20_000))
    x, y, control = (a * task + state + rng.normal(size=20_000) / 10 for a in (1.0, 1.0, 0.0))
    assert net_of(x, y, np.zeros((20_000, 0))) == pytest.approx(1, abs=0.02)
    assert net_of(x, y, control[:, None]) == pytest.approx(0.5**0.5, abs=0.02)  # x has the state, y's rest has not
    assert abs(net_of(state, y, control[:, None])) < 0.15
    assert net_of(x, y + 9, control[:, None] - 5) == pytest.approx(net_of(x, y, control[:, None]))


def test_the_interval_is_of_95_percent():
    few = cells(np.random.default_rng(5), 0.3, 0.2, 0.1, 0.4, 200)
    rng = np.random.default_rng(6)
    resampled = [variance_shares(few[rng.integers(200, size=200)]).whole for _ in range(1500)]
    low, high = interval(few, 1500)
    assert high - low == pytest.approx(2 * 1.96 * np.std(resampled), rel=0.1)  # of 90 % it is .84 of that


def test_sums_add_up_over_parts():
    rng = np.random.default_rng(2)
    keys, credits = rng.integers(50, size=400), rng.normal(size=(400, 3))
    whole, parts = Sums.of(keys, credits), [Sums.of(keys[i::4], credits[i::4]) for i in range(4)]
    together = parts[0].add(*parts[1:])
    assert np.array_equal(together.counts, whole.counts) and np.array_equal(together.keys, whole.keys)
    np.testing.assert_allclose(together.totals, whole.totals)
