"""Fine-tuning on the task's loss and that of masked tokens, differentiably and to the end."""

import numpy as np
import torch

from policylearn.adapt import finetune, joint
from policylearn.adapt.chosen import FrozenFeatures
from policylearn.adapt.outer import outer_problem
from policylearn.arms.arms import arm_policy
from policylearn.evaluation.trial import run_trial
from policylearn.inner.masked_lm import MaskedLM
from policylearn.problems.of_config import problem_of

EPOCHS = ("evaluate.joint.epochs=2", "evaluate.finetune.epochs=2", "evaluate.joint.learning_rate=1e-3")


def fitted(problem, policy=None, seed=0):
    return joint.fit(FrozenFeatures(problem, problem.fresh_model(0), policy), np.arange(60), seed).tuned


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_without_weight_of_masked_tokens_it_is_fine_tuning(tiny):
    settings = ("evaluate.joint.mlm_weight=0", "evaluate.joint.learning_rate=5e-5")
    problem = problem_of(tiny(*EPOCHS, *settings))
    tuned = finetune.fit(FrozenFeatures(problem, problem.fresh_model(0)), np.arange(60), 0).tuned
    text = problem.labelled("dev").rows.batch(range(20), problem.tokenizer.pad_token_id)
    assert torch.allclose(fitted(problem)(*text), tuned(*text), atol=1e-5)  # norms of gradients are sums of more
    a, b = (outer_problem(problem_of(tiny("outer.mlm_weight=0", f"outer.adaptation={how}")), [0], lambda **_: None)
            for how in ("joint", "finetune"))  # fmt: skip
    assert torch.isclose(a(problem.fresh_model(0)), b(problem.fresh_model(0)), rtol=1e-5)


def test_texts_are_masked_by_the_policy_of_the_model_and_otherwise_uniformly(tiny):
    problem = problem_of(tiny(*EPOCHS))
    under = {arm: fitted(problem, arm_policy(problem, arm)) for arm in ("none", "random", "oracle")}
    assert same(under["none"], under["random"]) and not same(under["random"], under["oracle"])
    assert same(under["oracle"], fitted(problem, arm_policy(problem, "oracle")))


def test_a_rate_with_a_schedule_is_where_the_training_ended(tiny):
    moving = problem_of(tiny(*EPOCHS, "masking.rate={kind='linear', rates=[0.6, 0.2]}"))
    still = {rate: problem_of(tiny(*EPOCHS, f"masking.rate={rate}")) for rate in (0.6, 0.2)}
    ended = fitted(moving, arm_policy(moving, "random"))
    assert same(ended, fitted(still[0.2])) and not same(ended, fitted(still[0.6]))
    assert same(fitted(moving), ended)
    settings = "outer.adaptation=joint", "masking.rate={kind='linear', rates=[0.6, 0.2]}"
    falling, low = (outer_problem(problem_of(tiny(settings[0], rate)), [0], lambda **_: None)
                    for rate in (settings[1], "masking.rate=0.2"))  # fmt: skip
    model = moving.fresh_model(0)
    assert torch.equal(falling(model), low(model))


def test_the_model_is_left_alone_and_a_trial_names_what_it_found(tiny):
    problem = problem_of(tiny(*EPOCHS, 'evaluate.downstream=["probe", "joint@20"]'))
    found = run_trial(problem, arm_policy(problem, "random"), "random", 0)
    assert 0 <= found.extra["joint@20"] <= 1
    model = problem.fresh_model(0)
    before = [p.detach().clone() for p in model.parameters()]
    joint.fit(FrozenFeatures(problem, model), np.arange(20), 0)
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, model.parameters(), strict=True))


def test_masked_tokens_are_predicted_better_after_it(tiny):
    problem = problem_of(tiny("planted.train=200", "planted.dev=50", "evaluate.joint.epochs=8", EPOCHS[2]))

    def loss(model):
        ids, real = problem.labelled("dev").rows.batch(range(50), problem.tokenizer.pad_token_id)
        policy = arm_policy(problem, "random")
        objective = joint.objective_of(problem)
        batch = objective.draw(policy, ids, real, 7, 0)
        with torch.no_grad():
            return objective(model, batch, objective.inputs(batch, next(model.parameters()))).item()

    plain = finetune.fit(FrozenFeatures(problem, problem.fresh_model(0)), np.arange(200), 0).tuned
    assert loss(joint.fit(FrozenFeatures(problem, problem.fresh_model(0)), np.arange(200), 0).tuned) < loss(plain) - 0.1


def test_a_text_has_other_masks_in_every_epoch(tiny, monkeypatch):
    drawn = {}

    class Seen(MaskedLM):
        def draw(self, *arguments, **settings):
            batch = super().draw(*arguments, **settings)
            for ids, mask in zip(batch.original, batch.mask, strict=True):
                drawn.setdefault(tuple(ids[ids > 0].tolist()), []).append(tuple(mask.nonzero().flatten().tolist()))
            return batch

    monkeypatch.setattr(joint, "objective_of", lambda problem: Seen())
    fitted(problem_of(tiny("evaluate.joint.epochs=2", "evaluate.joint.mlm_weight=0.0")))
    twice = [masks for masks in drawn.values() if len(masks) == 2]
    assert len(twice) > 40 and sum(one == other for one, other in twice) < len(twice) / 3
