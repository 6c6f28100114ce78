from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from policylearn.adapt import finetune
from policylearn.adapt.chosen import Chosen, FrozenFeatures
from policylearn.adapt.finetune import Classifier, FineTuning, best_start, first_heads, head_of
from policylearn.adapt.outer import outer_problem
from policylearn.adapt.probe import ProbeLoss
from policylearn.adapt.ridge import ridge_head
from policylearn.adapt.weight_mask import MaskTuning
from policylearn.config import TaskConfig
from policylearn.evaluation.identity import _settings, evidence_key
from policylearn.problems.of_config import problem_of
from policylearn.registry.known import ADAPTATIONS
from policylearn.tasks.classification import Classification
from policylearn.tasks.labelled import Examples, LabelledBatch, LabelWeights
from policylearn.tasks.regression import Regression


def test_the_head_starts_where_ridge_regression_classifies_well():
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    x = 3 + 5 * (torch.eye(3, 8)[y] + 0.2 * torch.randn(60, 8, generator=draw))
    weight, bias = ridge_head(x, y, Classification(3))
    logits = x @ weight.T + bias
    assert weight.shape == (3, 8) and bias.shape == (3,)
    assert (logits.argmax(1) == y).all()
    assert cross_entropy(logits, y) < 0.8
    assert torch.allclose(logits.mean(0), torch.zeros(3), atol=1e-4)  # no class is preferred on the whole


def test_the_classification_loss_by_hand():
    weights = torch.tensor([1.0, 3.0])
    logits = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    y = torch.tensor([0, 1])
    batch = LabelledBatch(y[:, None], y[:, None] >= 0, y)
    losses = cross_entropy(logits, y, reduction="none")
    loss = LabelWeights(Classification(2).losses)
    assert loss(lambda ids, real: logits, batch, weights) == pytest.approx((losses @ weights / 2).item())
    assert loss.inputs(batch, logits).tolist() == [1.0, 1.0]


@pytest.fixture
def tuned(tiny):
    problem = problem_of(tiny("outer.adaptation=finetune", "outer.steps=5", "outer.batch_size=6"))
    numbers = {}
    return problem, finetune.outer_loss(problem, range(16), range(16, 48), [0], lambda **n: numbers.update(n)), numbers


def test_steps_take_the_support_examples_in_turn(tuned):
    problem, tuning, _ = tuned
    rows = [row.tolist() for batch in tuning.window.batches for row in batch.y]
    assert len(tuning.window) == 5 and len(rows) == 30
    y = problem.examples("train").y.tolist()
    assert rows == [y[i % 16] for i in range(30)]


def test_it_leaves_the_model_alone_and_learns_the_support_examples(tuned):
    problem, tuning, numbers = tuned
    model = problem.fresh_model(0)
    before = [p.detach().clone() for p in model.parameters()]
    loss = tuning(model)
    assert numbers["outer_loss"] == loss.item() and 0 <= numbers["outer_accuracy"] <= 1
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))

    def support_loss(classifier) -> float:
        return sum(tuning.window.loss(classifier, b, torch.ones(len(b.y))).item() for b in tuning.window.batches)

    classifier = Classifier(model, *tuning.head(model))
    start = support_loss(classifier)
    optimizer = tuning.optimizer(classifier)
    for k, batch in enumerate(tuning.window.batches):
        tuning.window.set_rate(optimizer, k)
        optimizer.zero_grad()
        tuning.window.loss(classifier, batch, torch.ones(len(batch.y))).backward()
        torch.nn.utils.clip_grad_norm_(classifier.parameters(), problem.config.outer.clip)
        optimizer.step()
    assert support_loss(classifier) < start
    assert tuning.query(classifier).item() == pytest.approx(loss.item())


def test_the_config_says_which_adaptation(tiny):
    for name, kind in (("probe", ProbeLoss), ("finetune", FineTuning), ("weight_mask", MaskTuning)):
        problem = problem_of(tiny(f"outer.adaptation={name}"))
        assert isinstance(outer_problem(problem, [0], lambda **numbers: None), kind)


def test_a_loss_that_is_not_finite_is_an_error(tiny):
    problem = problem_of(tiny("outer.adaptation=finetune", "outer.learning_rate=1e30"))
    tuning = finetune.outer_loss(problem, range(16), range(16, 32), [0], lambda **numbers: None)
    with pytest.raises(FloatingPointError, match=r"lower outer\.learning_rate"):
        tuning(problem.fresh_model(0))


TUNED = ['evaluate.downstream=["finetune"]', "evaluate.finetune.epochs=2", "evaluate.finetune.learning_rate=1e-3"]
ZEROS = ["evaluate.finetune.head=zeros", "evaluate.joint.head=zeros"]


def test_a_head_of_zeros_knows_nothing_but_the_mean(tiny):
    config, picked = tiny(*TUNED, *ZEROS), np.arange(40)
    problem = problem_of(config)
    weight, bias = first_heads(problem, picked, problem.fresh_model(0), config.evaluate.finetune)["zeros"]
    ridge, _ = head_of(problem, picked, problem.fresh_model(0))
    assert weight.shape == ridge.shape and not weight.any() and not bias.any()
    train = problem.examples("train")
    numbers = Examples(train.rows, train.y.double())
    kind = SimpleNamespace(readout=Regression(numbers.y))
    other = SimpleNamespace(examples=lambda split: numbers, kind=kind, pad_id=problem.pad_id)
    weight, bias = first_heads(other, picked, problem.fresh_model(0), config.evaluate.finetune)["zeros"]
    assert not weight.any()
    assert kind.readout.predictions(bias[None]).item() == pytest.approx(numbers.y[:40].mean().item())


@pytest.mark.parametrize("how", ["finetune", "joint"])
def test_where_a_head_starts_is_a_setting(how, tiny):
    fit, picked, given = ADAPTATIONS.get(how).fit, np.arange(40), [line.replace("finetune", how) for line in TUNED]
    problems = [problem_of(tiny(*given, *more)) for more in ((), ZEROS, ZEROS)]
    ridge, zeros, again = (fit(FrozenFeatures(p, p.fresh_model(0)), picked, 3).tuned for p in problems)
    assert torch.equal(zeros.weight, again.weight) and zeros.weight.abs().max() < 0.02 < ridge.weight.abs().max()


@pytest.mark.parametrize("how", ["finetune", "joint"])
@pytest.mark.parametrize("better", ["ridge", "zeros"])
def test_of_both_heads_dev_selects_one(how, better, tiny, monkeypatch):
    given = [line.replace("finetune", how) for line in TUNED]
    problem = problem_of(tiny(*given, f"evaluate.{how}.head=both"))
    asked = iter(["ridge", "ridge", "zeros", "zeros"])  # two epochs each

    def score(tuned, split, *more):
        assert split is problem.labelled("dev")
        return 0.75 if next(asked) == better else 0.25

    monkeypatch.setattr(type(problem.kind), "score", staticmethod(score))
    chosen = ADAPTATIONS.get(how).fit(FrozenFeatures(problem, problem.fresh_model(0)), np.arange(40), 3)
    assert (chosen.tuned.weight.abs().max() < 0.02) == (better == "zeros")
    other = {"ridge": "zeros", "zeros": "ridge"}[better]
    assert chosen.dev == 0.75 and chosen.said == f"from {better}: dev .750, .250 from {other}"


def test_of_heads_that_are_as_good_the_first_is_kept():
    heads = {"ridge": (1,), "zeros": (2,)}
    assert best_start(heads, lambda start: Chosen(0.5, lambda split: start)).score(None) == 1
    assert best_start({"zeros": (2,)}, lambda start: Chosen(0.5, lambda split: start)).said == ""


def test_a_head_of_ridge_is_the_key_it_always_was_and_zeros_are_another(tiny):
    keys = [evidence_key(problem_of(tiny(*TUNED, *more))) for more in ((), ["evaluate.finetune.head=ridge"], ZEROS[:1])]
    assert keys[0] == keys[1] != keys[2]
    assert "head" not in _settings(tiny(*TUNED), TaskConfig())["evaluate"]["finetune"]
