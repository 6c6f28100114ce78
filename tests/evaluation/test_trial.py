import math

import numpy as np
import pytest

from policylearn.arms import arm_policy
from policylearn.config import Config
from policylearn.evaluation.downstream import METRICS
from policylearn.evaluation.trial import run_trial
from policylearn.problem import Problem


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
