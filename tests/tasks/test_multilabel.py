"""Texts with lists of labels, from the file to the score."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification

import policylearn as pl
from policylearn.adapt import finetune, probe
from policylearn.adapt.chosen import FrozenFeatures
from policylearn.arms.arms import initial_policy
from policylearn.arms.policies import scores_of
from policylearn.config import TaskConfig
from policylearn.credit.labels import made_up
from policylearn.data.overview import describe_label_sets
from policylearn.data.task import load_label_sets
from policylearn.evaluation import identity
from policylearn.evaluation.trial import run_trial
from policylearn.learning.rollout import rollout
from policylearn.problems.of_config import problem_of
from policylearn.tasks.logistic import LogisticPerLabel
from policylearn.tasks.multilabel import MultiLabel, average_precision, f1
from policylearn.weight_masks.plain import text_logits


def written(folder, rows):
    for split in ("train", "dev", "test"):
        lines = [json.dumps({"text": f"a {i}", "labels": y}) for i, y in enumerate(rows)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return TaskConfig(path=str(folder), kind="multilabel", label="labels")


def test_lists_are_read_and_told(tmp_path):
    task = load_label_sets(written(tmp_path, [["joy", "fear"], [], ["joy"], '["fear"]']))
    assert task.labels == ["fear", "joy"] and task.splits["train"].labels[3] == ["fear"]
    line = next(line for line in describe_label_sets(task) if "rows" in line)
    assert "4 / 4 / 4 rows, 1.0 of 2 labels per row (1 none): joy 50 %, fear 50 %" in line


def test_labels_that_test_has_not_are_said(tmp_path):
    config = written(tmp_path, [["joy", "fear"], [], ["rage"]])
    (tmp_path / "test.jsonl").write_text(json.dumps({"text": "a", "labels": ["joy"]}), encoding="utf-8")
    assert "task  no row of test has the label fear, rage" in describe_label_sets(load_label_sets(config))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["joy", "fear"], r"row 0: the label 'joy' is no list"),
        ([["joy"], [["fear"]]], r"row 1: the label is a list"),
        ([["joy"], []], r"at least two labels"),
        ([[1, 0], [0, 1]], r"every row has the labels \['0', '1'\], which looks like a number for each class"),
        ([[True, False], [False, True]], "looks like a number for each class"),
        ([["joy", "fear"], ["fear", "joy"]], r"every row has the labels \['fear', 'joy'\]: .* task\.label"),
    ],
)
def test_what_is_no_list_of_classes_is_refused_with_its_row(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        load_label_sets(written(tmp_path, rows))


def test_a_label_outside_of_the_set_is_named(tmp_path):
    config = written(tmp_path, [["joy"], ["fear"], ["rage"]]).model_copy(update={"labels": ["joy", "fear"]})
    with pytest.raises(ValueError, match="row 2: label 'rage' is not in the label set"):
        load_label_sets(config)


def test_a_split_without_a_label_is_refused(tmp_path):
    config = written(tmp_path, [["joy"], ["fear"], []])
    (tmp_path / "test.jsonl").write_text(json.dumps({"text": "a", "labels": []}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"no row of split 'test' has a label; .* task\.splits"):
        load_label_sets(config)


def test_metrics_by_hand():
    y = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]])
    logits = np.array([[2.0, -1.0, -1.0], [1.0, -2.0, -1.0], [3.0, 4.0, -1.0]])
    assert f1("micro")(y, logits) == pytest.approx(2 * 3 / (4 + 4))
    assert f1("macro")(y, logits) == pytest.approx((4 / 5 + 2 / 3 + 0) / 3)
    assert average_precision(y, logits) == pytest.approx(((1 / 2 + 2 / 3) / 2 + (1 + 2 / 3) / 2) / 2)


def test_a_metric_of_others_is_given_decisions_whoever_asks(labelled):
    asked = []

    @pl.metric("exact", kind="multilabel")
    def exact(y, predicted):
        asked.append(predicted)
        return float((y == predicted).all(1).mean())

    problem = problem_of(labelled("task.metric=exact", 'evaluate.downstream=["probe", "finetune"]'))
    problem.check_task()
    assert len(asked) == 1 and 0 <= run_trial(problem, None, "none", 0).score <= 1 and len(asked) > 3
    assert all(np.isin(predicted, (0, 1)).all() for predicted in asked)
    told = identity._settings(problem.config, problem.task)
    assert told["metric_of"] == "decisions"  # trials that were scored on logits are others
    assert "metric_of" not in identity._settings(problem.config, problem_of(labelled()).task)


def test_the_factor_is_at_its_best_and_shares_alone_explain_nothing():
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(400, 3, generator=draw)
    y = (torch.rand(400, 3, generator=draw) < (2.5 * scores - 1).sigmoid()).float()
    readout, centre = MultiLabel(3), y.mean(0)
    loss, factor = readout.fit_factor(scores, y, centre)
    near = [readout.loss(readout.outputs(scores, factor * by, centre), y).item() for by in (0.95, 1.05)]
    assert loss < min(near) and 1.5 < factor < 3.5
    assert readout.quality(readout.outputs(scores, 0.0, centre), y) == pytest.approx(0, abs=1e-5)
    assert 0.2 < readout.quality(readout.outputs(scores, factor, centre), y) < 1


def test_a_label_that_no_text_has_costs_no_fit():
    x, y = np.random.default_rng(0).normal(size=(30, 2)), np.zeros((30, 2))
    y[:, 0] = x[:, 0] > 0
    found = LogisticPerLabel(MultiLabel(2).estimator(1.0).estimator).fit(x, y).predict(x)
    assert found.shape == (30, 2) and not (found[:, 1] > 0).any() and ((found[:, 0] > 0) == (y[:, 0] > 0)).mean() > 0.9


@pytest.mark.parametrize("adaptation", ["probe", "finetune", "weight_mask", "joint"])
def test_an_outer_loss_of_label_lists_is_differentiated(labelled, adaptation):
    problem = problem_of(labelled(f"outer.adaptation={adaptation}", "inner.steps=4", "inner.window=2", "inner.every=2"))
    found = rollout(problem, initial_policy(problem), 0)
    assert sum(float(g.abs().sum()) for g in found.gradient.values()) > 0
    assert np.isfinite(found.metrics["outer_loss"]) and found.metrics["outer_accuracy"] <= 1


def test_dev_chooses_and_test_is_scored(labelled):
    config = labelled('evaluate.downstream=["probe@40", "finetune"]', "evaluate.finetune.epochs=2")
    found = run_trial(problem_of(config), None, "none", 0)
    assert 0 <= found.score <= 1 and set(found.extra) == {"finetune"}


def test_fine_tuning_learns_which_words_are_there(labelled):
    problem = problem_of(labelled("evaluate.finetune.epochs=10", "evaluate.finetune.learning_rate=0.005"))
    features = FrozenFeatures(problem, problem.fresh_model(0))
    frozen, tuned = (how.fit(features, np.arange(200), 0) for how in (probe, finetune))
    assert tuned.dev > frozen.dev + 0.05 and tuned.dev > 0.6


def test_words_are_credited_and_made_up_labels_are_as_frequent(labelled):
    problem = problem_of(labelled("credit.points=1", "credit.batches=3"))
    assert scores_of(problem, ["credit"])["credit"].types.abs().max() > 0
    y, picked = problem.examples("train").y, np.arange(100)
    found = made_up(problem, picked, y[picked], seed=0)
    assert found.sum(0).tolist() == y[picked].sum(0).tolist() and not torch.equal(found, y[picked])


def test_a_model_is_written_that_gives_the_labels(policylearn, tiny_toml, labelled, tagged, tmp_path):
    own = ("task.kind=multilabel", "task.label=labels", "task.metric=micro_f1", "evaluate.finetune.epochs=2")
    own += (f"task.path={tagged}", f"model.tokenizer={tagged / 'tokenizer'}", "--out", tmp_path / "out")
    status, _, err = policylearn("adapt", tiny_toml, *own, "--method", "finetune")
    assert status == 0, err
    assert "in row.nonzero()" in (tmp_path / "out/model/README.md").read_text()
    plain = AutoModelForTokenClassification.from_pretrained(tmp_path / "out/model")
    assert plain.config.problem_type == "multi_label_classification"
    assert list(plain.config.id2label.values()) == ["class0", "class1", "even"]
    test = problem_of(labelled()).tests()["test"]
    with torch.no_grad():
        found = text_logits(plain, *test.rows.batch(range(len(test)), 0)).numpy()
    kept = json.loads((tmp_path / "out/result.json").read_text())["test"]
    assert f1("micro")(test.y.numpy(), found) == pytest.approx(kept, abs=0.01)
