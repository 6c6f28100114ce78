"""Trials train as rollouts do."""

import pytest
import torch

from policylearn.arms.arms import arm_policy
from policylearn.evaluation.pretraining import pretrain
from policylearn.learning.rollout import train_once
from policylearn.problems.of_config import problem_of

SETTINGS = [(), ("inner.schedule=cosine",), ("inner.micro_batch=7", "inner.clip=0.5")]


@pytest.mark.parametrize("arm", ["random", "amlm"])
@pytest.mark.parametrize("more", SETTINGS, ids=["constant", "cosine", "in parts"])
def test_a_trial_trains_as_a_rollout_does_to_the_bit(tiny, arm, more):
    problem = problem_of(tiny("inner.steps=12", "scores.amlm.every=3", *more))
    policy = arm_policy(problem, arm)
    (trajectory,) = train_once(problem, policy, 5)
    model = problem.fresh_model(5)
    trained = pretrain(problem, model, policy, 5, 12)
    assert trained.losses == trajectory.notes["mlm_loss"]
    assert all(map(torch.equal, model.parameters(), trajectory.model.parameters()))
