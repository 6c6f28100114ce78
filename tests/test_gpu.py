"""Rollouts on a GPU say what they say on the CPU; skipped where there is none."""

import pytest
import torch

from policylearn.arms import initial_policy
from policylearn.cluster.pool import Worker
from policylearn.evaluation.trial import run_trial
from policylearn.rollout import rollout

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def test_asking_for_gpus_where_there_are_none(tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"cluster\.gpus is 1, and torch sees no GPU here; set it to 0 for the CPU"):
        Worker(tiny("cluster.gpus=1"))


@needs_gpu
@pytest.mark.parametrize("engine", ["replay", "finite_difference", "one_step", "unroll"])
@pytest.mark.parametrize("adaptation", ["probe", "finetune", "weight_mask"])
def test_the_policy_gradient_of_a_rollout(tiny, engine, adaptation):
    window = 1 if engine == "one_step" else 2
    settings = (f"inner.engine={engine}", f"inner.window={window}", f"outer.adaptation={adaptation}")
    flat = []
    for gpus in (0, 1):
        problem = Worker(tiny(*settings, f"cluster.gpus={gpus}")).problem
        found = rollout(problem, initial_policy(problem), 1_000_000).gradient
        assert all(value.device.type == "cpu" for value in found.values())
        flat.append(torch.cat([value.flatten() for value in found.values()]))
    assert torch.cosine_similarity(*flat, dim=0) > 0.999


@needs_gpu
@pytest.mark.parametrize("estimator", ["relaxed", "score_function"])
def test_other_estimators(tiny, estimator):
    settings = (f"learn.estimator={estimator}", "learn.samples=2", 'masking.design="independent"')
    losses = []
    for gpus in (0, 1):
        problem = Worker(tiny(*settings, f"cluster.gpus={gpus}")).problem
        losses.append(rollout(problem, initial_policy(problem), 1_000_000).metrics["mlm_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@needs_gpu
def test_a_trial(tiny):
    problems = [Worker(tiny(f"cluster.gpus={gpus}")).problem for gpus in (0, 1)]
    trials = [run_trial(problem, initial_policy(problem), "prior", 0) for problem in problems]
    assert trials[0].masked_tokens == trials[1].masked_tokens
    assert trials[0].mlm_loss == pytest.approx(trials[1].mlm_loss, rel=1e-3)
