from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from policylearn.evaluation.statistics import (
    RESAMPLES,
    bootstrap_interval,
    holm,
    least_effect,
    paired_difference,
    permutation_p,
    pooled_difference,
    sentence,
    standard_error,
)

AFTER, BEFORE = [0.75, 0.65, 0.80, 0.71], [0.50, 0.60, 0.55, 0.70]


def test_the_interval_is_that_of_the_paired_t_test():
    found = paired_difference(AFTER, BEFORE)
    interval = stats.ttest_rel(AFTER, BEFORE).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.mean == pytest.approx(np.mean(np.subtract(AFTER, BEFORE)))


def test_the_permutation_test_is_scipys():
    differences = np.random.default_rng(3).normal(0.4, 1.0, 9)
    theirs = stats.permutation_test(
        (differences,), lambda x, axis: np.mean(x, axis), permutation_type="samples", vectorized=True
    )
    assert permutation_p([differences]) == pytest.approx(theirs.pvalue)


def test_with_many_seeds_a_sample_of_the_flips_will_do():
    differences = np.random.default_rng(3).normal(0.6, 1.0, 14)
    signs = 1 - 2 * (np.arange(1 << 14)[:, None] >> np.arange(14) & 1)
    exact = (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12).mean()
    assert permutation_p([differences]) == pytest.approx(exact, abs=0.01)


def test_of_tasks_with_other_numbers_of_seeds_the_error_is_welchs_and_all_flips_are_counted():
    rng = np.random.default_rng(0)
    one, other = rng.normal(0.5, 1.0, 4), rng.normal(0.5, 3.0, 7)
    theirs = stats.ttest_ind(one, -other, equal_var=False)  # the sum of the means is twice the mean over both tasks
    interval, found = theirs.confidence_interval(0.95), pooled_difference([one, other])
    assert standard_error([one, other])[1] == pytest.approx(theirs.df)
    assert (found.low, found.high) == pytest.approx((interval.low / 2, interval.high / 2))
    flipped = [(one * s[:4]).mean() + (other * s[4:]).mean() for s in map(np.array, product((1, -1), repeat=11))]
    assert found.p == np.mean(np.abs(flipped) >= abs(one.mean() + other.mean()) - 1e-12)


def test_a_sample_of_the_flips_leaves_no_p_of_nothing():
    assert permutation_p([np.linspace(1.0, 2.0, 40)]) == 1 / (1 + RESAMPLES)


def test_the_bootstrap_interval_is_studentised_and_reaches_to_where_the_seeds_have_their_tail():
    skewed = np.random.default_rng(0).exponential(size=10)
    (low, high), mean, error = bootstrap_interval([skewed]), skewed.mean(), standard_error([skewed])[0]
    assert high - mean > 1.5 * (mean - low)
    assert bootstrap_interval([-skewed]) == pytest.approx([-high, -low], abs=0.1 * error)
    even = stats.norm.ppf((np.arange(8) + 0.5) / 8)  # of few seeds wider than what normal errors would have it
    low, high = bootstrap_interval([even])
    assert high - low > 2 * 2.2 * standard_error([even])[0]


pairs = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=6)


@given(pairs)
def test_everything_turns_with_the_sign(found):
    after, before = (np.array(side) / 50 for side in zip(*found, strict=True))
    there, back = paired_difference(after, before), paired_difference(before, after)
    assert there.low <= there.mean <= there.high
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    assert back.p == there.p and back.least == pytest.approx(there.least)


def test_differences_that_are_all_equal_have_an_interval_of_one_point():
    found = paired_difference([0.75, 0.5], [0.5, 0.25])
    assert (found.mean, found.low, found.high, found.bootstrap, found.least) == (0.25, 0.25, 0.25, None, None)


def test_one_seed_has_a_difference_and_nothing_else():
    found = paired_difference([0.75], [0.5])
    assert (found.mean, found.low, found.p, found.least, found.shown) == (0.25, None, None, None, False)


def test_a_score_that_is_not_finite_is_nowhere_tested():
    for score in (np.nan, np.inf):
        with pytest.raises(AssertionError):
            paired_difference([score, 0.5], [0.5, 0.25])
        with pytest.raises(AssertionError):
            permutation_p([np.array([score, 0.5])])


def coverage(interval, seeds: int, studies: int = 1000) -> float:
    rng = np.random.default_rng(0)
    bounds = (interval(rng.normal(size=seeds)) for _ in range(studies))
    return float(np.mean([low <= 0 <= high for low, high in bounds]))


def test_intervals_hold_the_truth_as_often_as_they_say():
    def percentiles(x):
        means = np.random.default_rng(0).choice(x, (500, len(x))).mean(1)
        return np.quantile(means, [0.025, 0.975])

    def student(x):
        error = x.std(ddof=1) / len(x) ** 0.5
        half = stats.t.ppf(0.975, len(x) - 1) * error
        return x.mean() - half, x.mean() + half

    assert coverage(student, 5) == pytest.approx(0.95, abs=0.025)
    assert coverage(student, 10) == pytest.approx(0.95, abs=0.025)
    assert coverage(percentiles, 5) < 0.88 and coverage(percentiles, 10) < 0.93  # why they are not used
    assert coverage(lambda x: bootstrap_interval([x]), 10, studies=200) == pytest.approx(0.95, abs=0.05)


def test_the_least_effect_is_found_in_four_of_five_studies():
    rng, seeds = np.random.default_rng(0), 10
    effect = least_effect(1 / seeds**0.5, seeds - 1.0)  # of a standard deviation of 1
    found = [paired_like(rng.normal(effect, 1.0, seeds)) for _ in range(2000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def paired_like(differences: np.ndarray) -> bool:
    return stats.ttest_1samp(differences, 0).confidence_interval(0.95).low > 0


def test_pooling_weighs_tasks_alike_and_narrows_the_interval():
    rng = np.random.default_rng(0)
    tasks = [rng.normal(0.02, 0.02, 10) for _ in range(5)]
    pooled, alone = pooled_difference(tasks), paired_difference(tasks[0], np.zeros(10))
    assert pooled.mean == pytest.approx(np.mean([task.mean() for task in tasks]))
    assert pooled.high - pooled.low < 0.7 * (alone.high - alone.low)
    uneven = pooled_difference([np.full(100, 0.1), np.array([0.0, 0.0, 0.0])])
    assert uneven.mean == pytest.approx(0.05)


def test_holm_by_hand():
    assert holm({}) == {}
    assert holm({"a": 0.01, "b": 0.011, "c": 0.9}) == pytest.approx({"a": 0.03, "b": 0.03, "c": 0.9})


def test_seeds_that_do_not_differ_show_nothing_and_are_not_said_to():
    for after, value in ((0.52, "+2.0"), (0.5, "+0.0")):
        found = paired_difference([after, after], [0.5, 0.5])
        assert not found.shown
        said = sentence("learned", "random", found)
        assert said == f"learned and random differ by {value} points on all of 2 seeds: nothing to judge chance by"


def test_one_seed_tells_nothing_and_two_little():
    said = sentence("learned", "random", paired_difference([0.9], [0.5]))
    assert said == "learned and random differ by +40.0 points on one seed, which tells nothing of others"
    said = sentence("learned", "random", paired_difference([0.9, 0.8], [0.5, 0.6]))
    assert said.startswith("learned is not shown to differ from random: +30.0 [")
