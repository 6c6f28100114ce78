import gc
import math
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from policylearn.adapt import finetune, probe, weight_mask
from policylearn.adapt.chosen import FrozenFeatures
from policylearn.adapt.downstream import score, subsets
from policylearn.arms.arms import arm_policy
from policylearn.evaluation.pretraining import held_out_loss, pretrain
from policylearn.evaluation.trial import run_trial
from policylearn.models.chunks import extract
from policylearn.problems.of_config import problem_of
from policylearn.registry.known import ADAPTATIONS
from policylearn.tasks import labelled as labelled_module
from policylearn.tasks.classification import Classification
from policylearn.tasks.labelled import Labelled


def test_metrics_by_hand():
    y, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert Classification.metrics["accuracy"](y, predicted) == 0.75
    assert Classification.metrics["macro_f1"](y, predicted) == pytest.approx((0.8 + 2 / 3) / 2)


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
    few = problem_of(tiny("evaluate.labelled=4"))
    assert run_trial(few, None, "none", 0).dev != run_trial(tiny_problem, None, "none", 0).dev


def test_fine_tuning_learns_what_a_probe_cannot_and_leaves_the_model_alone(tiny):
    problem = problem_of(tiny('evaluate.downstream=["probe", "finetune"]', "evaluate.finetune.learning_rate=0.003"))
    model = problem.fresh_model(0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    features = FrozenFeatures(problem, model)
    chosen = finetune.fit(features, np.arange(60), seed=0)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    frozen = probe.fit(features, np.arange(60), seed=0)
    assert chosen.dev > frozen.dev + 0.05  # a random encoder's features are poor until they are trained
    again = finetune.fit(features, np.arange(60), seed=0)
    assert again.dev == chosen.dev and again.score(problem.examples("dev")) == chosen.dev


@pytest.mark.parametrize("how", ["finetune", "weight_mask"])
def test_a_fine_tuning_that_diverges_is_no_score(tiny, monkeypatch, how):
    monkeypatch.setattr(
        Labelled, "training_loss", lambda kind, model, split, rows: next(model.parameters()).sum() * math.inf
    )
    problem = problem_of(tiny(f'evaluate.downstream=["{how}"]'))
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        run_trial(problem, None, "none", 0)


def test_further_methods_stand_beside_the_first(tiny):
    short = ("evaluate.finetune.epochs=1", "evaluate.weight_mask.epochs=1")
    problem = problem_of(tiny('evaluate.downstream=["probe", "finetune", "weight_mask"]', *short))
    found = run_trial(problem, None, "none", 0)
    assert set(found.extra) == {"finetune", "weight_mask"} and 0 <= found.extra["finetune"] <= 1
    assert found.score == run_trial(problem_of(tiny()), None, "none", 0).score


@pytest.mark.long
def test_weight_masks_learn_more_than_their_head_and_leave_the_model_alone(tiny):
    def learned(rate, seed=0):
        problem = problem_of(tiny("planted.train=300", "planted.dev=300", f"evaluate.weight_mask.learning_rate={rate}"))
        model = problem.fresh_model(0)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        chosen = weight_mask.fit(FrozenFeatures(problem, model), np.arange(300), seed)
        assert all(torch.equal(before[name], p) and p.grad is None for name, p in model.named_parameters())
        return chosen.dev

    assert learned(0.05) > learned(1e-9) + 0.03
    assert learned(0.05) == learned(0.05) != learned(0.05, seed=1)


@pytest.mark.parametrize("method", [probe, finetune, weight_mask])
def test_whoever_still_chooses_cannot_touch_test(tiny, method):
    problem = problem_of(tiny("evaluate.finetune.epochs=1", "evaluate.weight_mask.epochs=1"))
    with pytest.raises(AssertionError, match="test was touched while something was still to be chosen"):
        problem.examples("test")
    chosen = method.fit(FrozenFeatures(problem, problem.fresh_model(0)), np.arange(20), 0)  # gets by without it
    assert 0 <= chosen.score(problem.tests()["test"]) <= 1


def test_a_method_that_looks_at_test_while_it_chooses_does_not_get_through(tiny, monkeypatch):
    def cheat(features, picked, seed, *progress):
        features.problem.examples("test")
        return probe.fit(features, picked, seed)

    monkeypatch.setitem(ADAPTATIONS.members, "probe", SimpleNamespace(fit=cheat, outer_loss=probe.outer_loss))
    with pytest.raises(AssertionError, match="test was touched"):
        run_trial(problem_of(tiny()), None, "none", 0)


def test_scores_are_means_over_labelled_subsets(tiny):
    one, three = (problem_of(tiny("evaluate.labelled=6", f"evaluate.subsets={n}")) for n in (1, 3))
    sets = [tuple(picked) for picked in subsets(three, seed=5)]
    assert len(set(sets)) == 3 and all(len(picked) == 6 for picked in sets)
    assert sets[0] == tuple(next(subsets(one, seed=5)))
    each = []
    for picked in sets:
        chosen = probe.fit(FrozenFeatures(three, three.fresh_model(0)), np.array(picked), 5)
        each.append(chosen.score(three.tests()["test"]))
    found = score(FrozenFeatures(three, three.fresh_model(0)), ["probe"], 5)
    assert found["probe"].test == pytest.approx(np.mean(each))


def test_a_method_may_name_its_number_of_labelled_examples(tiny):
    few = problem_of(tiny("evaluate.labelled=6", "evaluate.subsets=3"))
    both = problem_of(tiny('evaluate.downstream=["probe", "probe@6"]', "evaluate.subsets=3"))
    found = run_trial(both, None, "none", 0)
    assert found.extra["probe@6"] == run_trial(few, None, "none", 0).score
    assert found.score == run_trial(problem_of(tiny()), None, "none", 0).score
    for wrong in ("probe@1", "prob", "probe@", "probe@many"):
        with pytest.raises(ValueError, match=r"evaluate\.downstream"):
            tiny(f'evaluate.downstream=["{wrong}"]')


def test_a_method_of_others_may_have_any_name_that_a_part_may_have(tiny):
    usual = run_trial(problem_of(tiny()), None, "none", 0).score
    for name in ("my-probe", "my.probe"):
        ADAPTATIONS.register(name)(ADAPTATIONS.get("probe"))
        found = run_trial(problem_of(tiny(f'evaluate.downstream=["{name}", "{name}@6"]')), None, "none", 0)
        assert found.score == usual and list(found.extra) == [f"{name}@6"]


def test_features_are_computed_once_for_every_text_asked_for(tiny_problem, monkeypatch):
    asked, train = [], tiny_problem.examples("train")

    def counted(model, split, rows, *others):
        asked.append(rows.tolist())
        return extract(model, split, rows, *others)

    monkeypatch.setattr(labelled_module, "extract", counted)
    features = FrozenFeatures(tiny_problem, tiny_problem.fresh_model(0))
    first, second = features(train, np.array([3, 1, 3])), features(train, np.array([5, 1]))
    assert asked == [[1, 3], [5]]
    with torch.no_grad():
        right = extract(tiny_problem.fresh_model(0), train.rows, [3, 1, 3, 5, 1], tiny_problem.tokenizer.pad_token_id)
    np.testing.assert_allclose(np.concatenate([first, second]), right.numpy(), atol=1e-5)


def test_a_checkpoint_that_is_not_trained_further_is_looked_at_once(tiny, tmp_path, monkeypatch):
    made = problem_of(tiny())
    made.fresh_model(3).mlm.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    overrides = f"model.name={tmp_path}", "model.architecture={}", "evaluate.labelled=8"
    alone = [run_trial(problem_of(tiny(*overrides)), None, "none", seed) for seed in (0, 1)]
    asked = []
    monkeypatch.setattr(labelled_module, "extract", lambda *given: asked.append(given[2].tolist()) or extract(*given))
    problem = problem_of(tiny(*overrides))
    for seed, right in enumerate(alone):
        found = run_trial(problem, None, "none", seed)
        assert (found.score, found.dev, found.held_out_loss) == (right.score, right.dev, right.held_out_loss)
    assert alone[0].dev != alone[1].dev  # the labelled examples are others
    assert len(asked) == 4  # train, dev and test of seed 0; what else seed 1 has of train
    left = weakref.ref(problem)
    del problem
    gc.collect()
    assert left() is None, "what was found goes with the problem"


def test_held_out_text_is_better_known_after_training(tiny_problem):
    random = arm_policy(tiny_problem, "random")
    before = run_trial(tiny_problem, None, "none", 0).held_out_loss
    model = tiny_problem.fresh_model(0)
    pretrain(tiny_problem, model, random, seed=0, steps=40)
    assert held_out_loss(tiny_problem, model) < before - 0.05
    assert held_out_loss(tiny_problem, model) == held_out_loss(tiny_problem, model)
