"""Seeds are apart, as far as it is said that they are."""

from itertools import pairwise

import pytest

from policylearn.inner.seeds import (
    MASK_SEED,
    OUTCOME_SEED,
    ROLLOUT_SEEDS,
    SAMPLE_BITS,
    STRENGTH_SEED,
    TRAINING_SEED,
    VALIDITY_SEED,
    first_seed_of,
    rollout_seeds,
)

OTHERS = [0, TRAINING_SEED, MASK_SEED, STRENGTH_SEED, OUTCOME_SEED, VALIDITY_SEED]


def of_seed(tiny, seed):
    """All that rollouts of a `learn.seed` may have."""
    (first, *_) = rollout_seeds(tiny(f"learn.seed={seed}"), 0)
    return range(first, first + ROLLOUT_SEEDS)


def test_rollouts_have_no_seed_of_others_up_to_the_learn_seed_that_is_named(tiny):
    last = of_seed(tiny, 99)
    assert all(other not in range(of_seed(tiny, 0)[0], last[-1] + 1) for other in OTHERS)
    assert sorted(OTHERS) == OTHERS and min(b - a for a, b in pairwise(OTHERS)) >= ROLLOUT_SEEDS


@pytest.mark.parametrize(
    ("seed", "other"),
    [(199, TRAINING_SEED), (249, MASK_SEED), (299, STRENGTH_SEED), (399, OUTCOME_SEED), (499, VALIDITY_SEED)],
)
def test_beyond_it_they_meet_where_it_is_said(tiny, seed, other):
    assert of_seed(tiny, seed)[0] == other


def test_so_do_the_models_of_stages(tiny):
    def first(stage, seed):
        return first_seed_of(stage, tiny(f"learn.seed={seed}"))

    for seed in (0, 1, 99):
        assert OUTCOME_SEED <= first(OUTCOME_SEED, seed) <= VALIDITY_SEED - ROLLOUT_SEEDS
        assert first(STRENGTH_SEED, seed) + ROLLOUT_SEEDS * 100 == first(OUTCOME_SEED, seed)
    assert first(OUTCOME_SEED, 100) == first(STRENGTH_SEED, 200) == VALIDITY_SEED


def test_trainings_of_one_rollout_are_told_apart_up_to_the_learn_seed_that_is_named(tiny):
    assert of_seed(tiny, 4293)[0] < 1 << SAMPLE_BITS <= of_seed(tiny, 4294)[0]
