import json

import pytest

from policylearn.evaluation.summary import summarise
from policylearn.evaluation.trial import Trial


def trial(arm: str, seed: int, score: float, masked: int = 100, **extra: float) -> Trial:
    return Trial(arm, seed, score, extra, dev=score / 2, mlm_loss=1.0, masked_tokens=masked, seconds=3.0)


TRIALS = [
    trial("random", 1, 0.60),
    trial("random", 0, 0.50),
    trial("learned", 0, 0.75),
    trial("learned", 1, 0.65),
    trial("random", 2, 0.55),
    trial("learned", 2, 0.80),
]


def test_a_summary_by_hand():
    result = summarise(TRIALS, "accuracy")
    assert result["metric"] == "accuracy"
    assert result["seeds"] == [0, 1, 2]
    assert result["arms"]["random"]["scores"] == [0.50, 0.60, 0.55]  # by seed, whatever the order of arrival
    assert result["arms"]["learned"]["scores"] == [0.75, 0.65, 0.80]
    assert result["arms"]["learned"]["dev"] == [0.375, 0.325, 0.4]
    assert result["arms"]["learned"]["masked_tokens"] == [100, 100, 100]
    assert result["arms"]["learned"]["seconds"] == [3.0, 3.0, 3.0]
    assert list(result["comparisons"]) == ["learned - random"]
    assert result["comparisons"]["learned - random"]["mean"] == pytest.approx((0.25 + 0.05 + 0.25) / 3)
    assert result == json.loads(json.dumps(result))


def test_holm_counts_all_arms_compared_with_a_base_wherever_it_stands():
    scores = {"none": 0.1, "random": 0.5, "learned": 0.7}
    noise = (0.0, 0.01, 0.03, 0.02, 0.05, 0.04)
    trials = [trial(a, seed, s + (-1) ** seed * n * s) for a, s in scores.items() for seed, n in enumerate(noise)]
    found = summarise(trials, "accuracy")["comparisons"]["learned - random"]
    assert found["holm"] == pytest.approx(2 * found["p"])  # random is compared with none as well


def test_an_arm_that_masked_another_number_of_tokens_is_marked_and_the_table_is_there_all_the_same():
    trials = [trial(arm, seed, 0.5) for arm in "abc" for seed in (0, 1)]
    trials[-1] = trial("c", 1, 0.5, masked=103)
    arms = summarise(trials, "accuracy")["arms"]
    assert {arm: found["equal_budget"] for arm, found in arms.items()} == {"a": True, "b": True, "c": False}
    assert arms["c"]["scores"] == [0.5, 0.5]


def test_one_arm_that_masked_fewer_does_not_make_the_others_of_another_budget():
    trials = [trial(arm, 0, 0.5, masked=masked) for arm, masked in (("a", 900), ("b", 1000), ("c", 1000))]
    arms = summarise(trials, "accuracy")["arms"]
    assert {arm: found["equal_budget"] for arm, found in arms.items()} == {"a": False, "b": True, "c": True}


def test_without_an_exact_arm_budgets_are_compared_with_each_other():
    trials = [trial(arm, 0, 0.5, masked=masked) for arm, masked in (("a", 1000), ("b", 1015), ("c", 1200))]
    arms = summarise(trials, "accuracy", dict.fromkeys("abc", "units"))["arms"]
    assert {arm: found["equal_budget"] for arm, found in arms.items()} == {"a": True, "b": True, "c": False}


def test_seeds_may_mask_different_numbers_of_tokens_and_no_training_masks_none():
    trials = [trial(arm, seed, 0.5, masked=100 + seed) for arm in "ab" for seed in (0, 1)]
    result = summarise([*trials, trial("none", 0, 0.4, masked=0), trial("none", 1, 0.4, masked=0)], "accuracy")
    assert result["arms"]["none"]["masked_tokens"] == [0, 0]


def test_further_test_sets_are_listed_by_arm():
    trials = [trial(arm, seed, 0.5, noverlap=0.1 * seed) for arm in "ab" for seed in (1, 0)]
    assert summarise(trials, "accuracy")["extra"] == {"noverlap": {"a": [0.0, 0.1], "b": [0.0, 0.1]}}


OTHERS = {"word": "units", "span": "units", "explore": "design", "random-30": "rate"}


def test_arms_whose_budget_may_differ_say_whether_it_does():
    trials = [trial("random", 0, 0.5, masked=1000), trial("word", 0, 0.5, masked=1010)]
    trials += [trial("span", 0, 0.5, masked=1100), trial("random-30", 0, 0.5, masked=2000)]
    trials += [trial("explore", 0, 0.5, masked=998)]
    arms = summarise(trials, "accuracy", OTHERS)["arms"]
    assert [arm for arm, found in arms.items() if found["equal_budget"]] == ["random", "word", "explore"]


def test_no_trials_are_no_comparison():
    assert summarise([], "accuracy")["arms"] == {}
