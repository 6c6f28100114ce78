import json
import math
import shutil
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from policylearn.arms import arm_policy, check_arms
from policylearn.artefact import load_policy, save_policy
from policylearn.compare import evaluate_policies
from policylearn.config import Config
from policylearn.evaluate import METRICS, Trial, paired_difference, run_trial, summarise
from policylearn.problem import Problem
from policylearn.reproduce import reproduce_trial


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


def test_the_interval_is_that_of_the_paired_t_test():
    after, before = [0.75, 0.65, 0.80, 0.71], [0.50, 0.60, 0.55, 0.70]
    found = paired_difference(after, before)
    interval = stats.ttest_rel(after, before).confidence_interval(0.95)
    assert found == pytest.approx(
        {"mean": np.mean(np.subtract(after, before)), "low": interval[0], "high": interval[1]}
    )


scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=6)


@given(scores)
def test_the_interval_holds_the_mean_and_turns_with_the_sign(pairs):
    after, before = zip(*pairs, strict=True)
    there, back = paired_difference(after, before), paired_difference(before, after)
    assert there["low"] <= there["mean"] <= there["high"]
    assert back == pytest.approx({"mean": -there["mean"], "low": -there["high"], "high": -there["low"]})


def test_differences_that_are_all_equal_have_an_interval_of_one_point():
    assert paired_difference([0.75, 0.5], [0.5, 0.25]) == {"mean": 0.25, "low": 0.25, "high": 0.25}


def test_one_seed_has_a_difference_and_no_interval():
    assert paired_difference([0.75], [0.5]) == {"mean": 0.25}


def test_arms_that_masked_different_numbers_of_tokens_are_refused():
    with pytest.raises(ValueError, match=r"seed 1: arms masked \[100, 103\] tokens"):
        summarise(
            [trial("a", 0, 0.5), trial("b", 0, 0.5), trial("a", 1, 0.5), trial("b", 1, 0.5, masked=103)], "accuracy"
        )


def test_seeds_may_mask_different_numbers_of_tokens_and_no_training_masks_none():
    trials = [trial(arm, seed, 0.5, masked=100 + seed) for arm in "ab" for seed in (0, 1)]
    result = summarise([*trials, trial("none", 0, 0.4, masked=0), trial("none", 1, 0.4, masked=0)], "accuracy")
    assert result["arms"]["none"]["masked_tokens"] == [0, 0]


def test_further_test_sets_are_listed_by_arm():
    trials = [trial(arm, seed, 0.5, noverlap=0.1 * seed) for arm in "ab" for seed in (1, 0)]
    assert summarise(trials, "accuracy")["extra"] == {"noverlap": {"a": [0.0, 0.1], "b": [0.0, 0.1]}}


def test_no_trials_are_no_comparison():
    assert summarise([], "accuracy")["arms"] == {}


def test_metrics_by_hand():
    y, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert METRICS["accuracy"](y, predicted) == 0.75
    assert METRICS["macro_f1"](y, predicted) == pytest.approx((0.8 + 2 / 3) / 2)
    assert METRICS.keys() == set(Config.model_fields["task"].annotation.model_fields["metric"].annotation.__args__)


def test_a_trial_is_a_function_of_policy_and_seed(tiny_problem):
    def numbers(arm: str, seed: int) -> tuple:
        found = run_trial(tiny_problem, arm_policy(tiny_problem, arm), arm, seed)
        return found.score, found.dev, found.mlm_loss, found.masked_tokens

    first = numbers("difference", 0)
    assert first == numbers("difference", 0)
    assert first != numbers("difference", 1)
    random = numbers("random", 0)
    assert random[2] != first[2]
    assert random[3] == first[3] > 0
    assert math.isfinite(first[2])


def test_without_further_training_nothing_is_masked(tiny_problem):
    found = run_trial(tiny_problem, arm_policy(tiny_problem, "none"), "none", 0)
    assert (found.masked_tokens, found.mlm_loss) == (0, None)


def test_a_subset_of_labelled_examples_makes_another_classifier(tiny, tiny_problem):
    few = Problem(tiny("evaluate.labelled=4"))
    assert run_trial(few, None, "none", 0).dev != run_trial(tiny_problem, None, "none", 0).dev


def test_arms_are_checked_by_name(tiny):
    check_arms(tiny('evaluate.arms=["none", "random", "difference", "tficf", "oracle", "learned"]'))
    with pytest.raises(ValueError, match=r"unknown arm 'mine'; known: .*'random'"):
        check_arms(tiny('evaluate.arms=["mine"]'))
    check_arms(tiny('evaluate.arms=["mine"]'), known=["mine"])
    with pytest.raises(ValueError, match="the oracle is known on the planted benchmark only"):
        check_arms(tiny('evaluate.arms=["oracle"]', "domain.path=elsewhere.jsonl"))


@pytest.fixture(scope="module")
def one_seed(tiny):
    return tiny("evaluate.seeds=1", 'evaluate.arms=["random", "learned"]')


def test_exported_policies_are_compared_with_the_configured_arms(finished, one_seed, tmp_path, quiet):
    given = {"learned": finished / "policy", "prior": finished / "prior"}
    result = evaluate_policies(one_seed, tmp_path / "out", quiet, given)
    assert list(result["arms"]) == ["random", "learned", "prior"]
    assert result["arms"].keys() == json.loads((tmp_path / "out" / "result.json").read_text())["arms"].keys()
    whole = json.loads((finished / "result.json").read_text(encoding="utf-8"))["arms"]
    for arm, twin in (("random", "random"), ("learned", "learned"), ("prior", "difference")):
        assert result["arms"][arm]["scores"][0] == whole[twin]["scores"][0]


def test_learned_is_left_out_where_no_policy_is_given(one_seed, tmp_path, quiet):
    assert list(evaluate_policies(one_seed, tmp_path / "out", quiet, {})["arms"]) == ["random"]


def test_a_policy_may_stand_in_for_a_configured_arm(finished, one_seed, tmp_path, quiet):
    result = evaluate_policies(one_seed, tmp_path / "out", quiet, {"random": finished / "policy"})
    assert list(result["arms"]) == ["random"]
    assert len(result["arms"]["random"]["scores"]) == 1


def test_trials_of_one_policy_are_never_shown_as_those_of_another(finished, one_seed, tmp_path, quiet, monkeypatch):
    folder = tmp_path / "out"
    first = evaluate_policies(one_seed, folder, quiet, {"learned": finished / "policy"})
    with monkeypatch.context() as patch:
        patch.setattr("policylearn.compare.run_trial", None)  # all trials are there already
        assert evaluate_policies(one_seed, folder, quiet, {"learned": finished / "policy"})["arms"] == first["arms"]
    artefact = load_policy(finished / "policy")
    artefact.policy.load_learned({n: v + 1 for n, v in artefact.policy.learned().items()})
    other = save_policy(tmp_path / "other", artefact, card="")
    with pytest.raises(ValueError, match=r"trials of another policy as \['learned'\].*--fresh"):
        evaluate_policies(one_seed, folder, quiet, {"learned": other})
    evaluate_policies(one_seed, folder, quiet, {"learned": other}, fresh=True)


def test_a_trial_of_a_given_policy_is_reproduced_from_wherever_it_came(
    policylearn, finished, one_seed, tmp_path, quiet, monkeypatch
):
    """Given by a relative path, for an arm that has a policy of its own name; called from another folder."""
    shutil.copytree(finished / "policy", tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    evaluate_policies(one_seed, tmp_path / "out", quiet, {"random": "mine"})
    monkeypatch.chdir("/")
    known = json.loads((tmp_path / "out" / "trials.jsonl").read_text())
    again = asdict(reproduce_trial(tmp_path / "out", "random", 0))
    assert known.pop("seconds") and again.pop("seconds")
    assert again == known
    assert policylearn("reproduce", tmp_path / "out", "--trial", "random", 0)[0] == 0


@pytest.mark.parametrize("change", ["tensors", "rate", "gone"])
def test_a_trial_of_a_policy_that_has_changed_is_not_reproduced(change, finished, one_seed, tmp_path, quiet):
    mine, artefact = tmp_path / "mine", load_policy(finished / "policy")
    save_policy(mine, artefact, card="")
    evaluate_policies(one_seed, tmp_path / "out", quiet, {"mine": mine})
    reproduce_trial(tmp_path / "out", "mine", 0)
    if change == "tensors":
        artefact.policy.load_learned({n: v + 1 for n, v in artefact.policy.learned().items()})
    if change == "rate":
        artefact.policy.segmenter.masking = artefact.policy.masking.model_copy(update={"rate": 0.3})
    save_policy(mine, artefact, card="") if change != "gone" else shutil.rmtree(mine)
    with pytest.raises(ValueError, match=rf"{mine}.* (has changed since|does not exist)"):
        reproduce_trial(tmp_path / "out", "mine", 0)


def test_trials_of_a_given_policy_are_not_those_of_the_arm_it_stood_in_for(finished, one_seed, tmp_path, quiet):
    config = one_seed.model_copy(update={"evaluate": one_seed.evaluate.model_copy(update={"arms": ["random"]})})
    evaluate_policies(config, tmp_path / "out", quiet, {"random": finished / "policy"})
    with pytest.raises(ValueError, match=r"trials of another policy as \['random'\]"):
        evaluate_policies(config, tmp_path / "out", quiet, {})


def test_a_policy_of_another_tokenizer_is_refused(saved_policy, one_seed, tmp_path, quiet):
    with pytest.raises(ValueError, match="does not match the policy"):
        evaluate_policies(one_seed, tmp_path / "out", quiet, {"learned": saved_policy})
    assert not (tmp_path / "out").exists()
