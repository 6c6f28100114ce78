import numpy as np
import pytest
import torch

from policylearn.adapt.downstream import check_layers
from policylearn.adapt.outer import outer_problem
from policylearn.adapt.ridge import probe_loss
from policylearn.adapt.splits import fold, support_and_query
from policylearn.arms.arms import initial_policy
from policylearn.config import OuterConfig
from policylearn.learning.rollout import rollout
from policylearn.problems.of_config import problem_of
from policylearn.tasks.classification import Classification

FOLDED = "outer.folds=4"


def noted(problem, key):
    numbers = {}
    return outer_problem(problem, key, numbers.update), numbers


def test_one_split_or_folds_are_dealt_from_the_same_examples(tiny):
    plain, folded = (noted(problem_of(tiny(*how)), [3])[0] for how in ((), (FOLDED,)))
    drawn = support_and_query(plain.problem.config.outer, 60, [3])
    assert [plain.picked[part].tolist() for part in plain.splits[0]] == [part.tolist() for part in drawn]
    assert plain.picked.tolist() == folded.picked.tolist()
    assert sorted(np.concatenate([query for _, query in folded.splits])) == list(range(32))
    assert all(sorted([*s, *q]) == list(range(32)) for s, q in folded.splits)


def test_folds_have_classes_alike_and_change_with_the_key(tiny):
    problem = problem_of(tiny(FOLDED))
    first, again, other = (noted(problem, key)[0] for key in ([3], [3], [4]))
    for _, query in first.splits:
        share = first.y[query].float().mean() - first.y.float().mean()
        assert len(query) == 8 and abs(share) <= 1 / 8
    found = [[q.tolist() for _, q in loss.splits] for loss in (first, again, other)]
    assert found[0] == found[1] != found[2]
    deals = [[q.tolist() for _, q in fold(first.y.numpy(), 4, np.random.default_rng(seed))] for seed in (0, 1)]
    assert deals[0] != deals[1]


def test_the_loss_of_folds_is_their_mean_with_one_forward_pass(tiny):
    problem = problem_of(tiny(FOLDED))
    (loss, numbers), model, calls = noted(problem, [3]), problem.fresh_model(0), []
    model.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    found = loss(model)
    assert calls == [32] and numbers["outer_loss"] == found.item()
    x = loss.features(model)
    fits = [probe_loss(x[s], loss.y[s], x[q], loss.y[q], Classification(2)) for s, q in loss.splits]
    assert found.item() == pytest.approx(np.mean([fit.loss.item() for fit in fits]), rel=1e-6)
    assert numbers["outer_accuracy"] == pytest.approx(np.mean([fit.quality for fit in fits]))
    slopes = torch.autograd.grad(found, list(model.parameters()), allow_unused=True)
    parts = [
        torch.autograd.grad(fit.loss / 4, list(model.parameters()), retain_graph=True, allow_unused=True)
        for fit in fits
    ]
    for slope, *of_folds in zip(slopes, *parts, strict=True):
        if slope is not None:
            torch.testing.assert_close(slope, sum(of_folds))


def learned_from(tiny, folds, *how):
    problem = problem_of(tiny(*how, f"outer.folds={folds}", "inner.credit_batches=3", "learn.kl=0"))
    return rollout(problem, initial_policy(problem), 5)


def distance(a, b):
    x, y = a["network.logits"], b["network.logits"]
    return ((x - y).norm() / y.norm()).item()


@pytest.mark.parametrize("engine", ["replay", "finite_difference"])
def test_engines_agree_on_the_gradient_through_folds(tiny, engine):
    exact, found = (learned_from(tiny, 4, f"inner.engine={name}").gradient for name in ("unroll", engine))
    one = learned_from(tiny, 1, f"inner.engine={engine}").gradient
    assert distance(found, exact) < 0.02
    assert distance(one, exact) > 0.1


@pytest.mark.parametrize("how", ["inner.engine=one_step", "learn.estimator=score_function", "learn.estimator=relaxed"])
def test_folds_change_the_gradient_and_not_the_way_of_the_model(tiny, how):
    one, four = (learned_from(tiny, folds, how) for folds in (1, 4))
    assert one.metrics["dev"] == four.metrics["dev"] and one.metrics["mlm_loss"] == four.metrics["mlm_loss"]
    gradients = [result.gradient["network.logits"] for result in (one, four)]
    assert all(torch.isfinite(g).all() and g.abs().sum() > 0 for g in gradients)
    assert not torch.allclose(*gradients)


@pytest.mark.parametrize("adaptation", ["finetune", "weight_mask"])
def test_folds_of_training_are_refused(tiny, adaptation):
    with pytest.raises(ValueError, match=r"outer\.folds = 4 .* set outer\.folds = 1"):
        tiny(FOLDED, f"outer.adaptation={adaptation}")


MASKS = ("outer.adaptation=weight_mask", "outer.steps=3", "outer.mask_rate=0.1")


def mask_loss(tiny, key, *settings):
    """Loss and gradient in θ."""
    problem, numbers = problem_of(tiny(*MASKS, *settings)), {}
    model = problem.fresh_model(0)
    loss = outer_problem(problem, key, lambda **found: numbers.update(found))(model)
    assert numbers["outer_loss"] == loss.item() and 0 <= numbers["outer_accuracy"] <= 1
    named = {name: p for name, p in model.named_parameters() if "cls" not in name}
    return loss.item(), torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(named.values()))])


def test_weight_masks_are_drawn_by_the_key_and_set_by_the_config(tiny):
    loss, gradient = mask_loss(tiny, [3])
    assert mask_loss(tiny, [3])[0] == loss and mask_loss(tiny, [4])[0] != loss
    first_order = mask_loss(tiny, [3], "outer.first_order=true")
    assert first_order[0] == loss and not torch.allclose(first_order[1], gradient, rtol=1e-2)
    others = ("outer.sparsity=0.3", "outer.steps=1", "outer.mask_rate=0.3")
    assert len({loss, *(mask_loss(tiny, [3], other)[0] for other in others)}) == 4


HALVES = "d_model=16, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=32, decoder_ffn_dim=32"
OTHERS = {
    "bart": f"{HALVES}, encoder_attention_heads=2, decoder_attention_heads=2, init_std=0.1",
    "longformer": "hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, "
    "attention_window=16, initializer_range=0.1",  # with maps of global attention, which nothing uses
}


@pytest.mark.parametrize("kind", OTHERS)
def test_weight_masks_are_learned_of_whatever_part_says_the_features(tiny, kind):
    problem = problem_of(tiny(*MASKS, f"model.architecture={{model_type='{kind}', {OTHERS[kind]}}}"))
    model = problem.fresh_model(0)
    loss = outer_problem(problem, [3], lambda **found: None)(model)
    slopes = torch.autograd.grad(loss, list(model.encoder.parameters()), allow_unused=True)
    assert loss.isfinite() and any(slope is not None and slope.any() for slope in slopes)


def test_a_weight_mask_loss_that_is_not_finite_is_an_error(tiny):
    problem = problem_of(tiny(*MASKS))
    model = problem.fresh_model(0)
    with torch.no_grad():
        model.mlm.bert.encoder.layer[0].output.LayerNorm.weight.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match=r"the outer loss became nan: lower outer\.mask_rate"):
        outer_problem(problem, [0], lambda **found: None)(model)


def test_a_first_layer_that_is_not_there_is_an_error(tiny):
    problem = problem_of(tiny(*MASKS, "outer.first_layer=1"))
    with pytest.raises(ValueError, match=r"BertModel has 1 layers, the first is 0; lower first_layer"):
        outer_problem(problem, [0], lambda **found: None)(problem.fresh_model(0))


@pytest.mark.parametrize(("examples", "said"), [(3, "3 labelled examples of train"), (6, "into 8 folds")])
def test_more_is_not_asked_of_few_labels_than_they_can_give(examples, said):
    with pytest.raises(ValueError, match=said):
        list(fold(np.arange(examples) % 2, 8, np.random.default_rng(0)))


def test_of_three_labels_none_is_both_learned_from_and_judged_by():
    with pytest.raises(ValueError, match="label 4 or more"):
        support_and_query(OuterConfig(), 3, [0])


@pytest.mark.parametrize(
    "settings", [["evaluate.downstream=[probe,weight_mask@9]"], ["outer.adaptation=weight_mask", "evaluate.seeds=0"]]
)
def test_layers_that_the_model_does_not_have_are_told_before_it_is_trained(tiny, settings):
    layers = ["evaluate.weight_mask.first_layer=1", "outer.first_layer=1"]
    with pytest.raises(ValueError, match="from layer 1 on: BertModel has 1 layers"):
        check_layers(problem_of(tiny(*settings, *layers)))
    check_layers(problem_of(tiny(*settings)))
    check_layers(problem_of(tiny(*layers)))
