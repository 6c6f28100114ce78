"""Texts with a number each, from the file to the score; and what all readouts have in common."""

import json

import numpy as np
import pytest
import torch

from policylearn.adapt import finetune, probe
from policylearn.adapt.chosen import FrozenFeatures
from policylearn.adapt.outer import dev_score, outer_problem
from policylearn.adapt.ridge import probe_loss, ridge_head
from policylearn.arms.arms import initial_policy
from policylearn.config import PlantedConfig, TaskConfig
from policylearn.data.overview import describe_numbers
from policylearn.data.planted import planted_task, planted_tokenizer
from policylearn.data.task import load_numbers, load_task
from policylearn.evaluation.trial import run_trial
from policylearn.learning.rollout import rollout
from policylearn.problem import Problem
from policylearn.tasks.classification import Classification
from policylearn.tasks.regression import Regression


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """Documents of the planted benchmark, each with the number of its words of class 1 less those of class 0, × 10."""
    folder, planted = tmp_path_factory.mktemp("counts"), PlantedConfig(train=200, dev=120, test=120)
    planted_tokenizer(planted).save_pretrained(folder / "tokenizer")
    for split, rows in planted_task(planted).splits.items():
        lines = [
            json.dumps({"text": text, "label": 10.0 * (text.count("class1") - text.count("class0"))})
            for text in rows.texts
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def counted(tiny, counts):
    return lambda *more: tiny(
        f"task.path={counts}", "task.kind=regression", f"model.tokenizer={counts / 'tokenizer'}", *more
    )


def readouts():
    draw = torch.Generator().manual_seed(0)
    return [
        (Classification(3), torch.arange(60) % 3),
        (Regression(torch.linspace(-40, 25, 60)), torch.linspace(-40, 25, 60)[torch.randperm(60, generator=draw)]),
    ]


@pytest.mark.parametrize(("readout", "y"), readouts())
def test_every_readout_says_that_right_outputs_are_best(readout, y):
    right = 9 * readout.targets(y) if readout.width > 1 else readout.targets(y)
    wrong = right[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]
    assert right.shape == (60, readout.width)
    assert readout.loss(right, y) < readout.loss(wrong, y)
    torch.testing.assert_close(readout.losses(right, y).mean(), readout.loss(right, y))
    assert readout.quality(right, y) == pytest.approx(1.0) and readout.quality(wrong, y) < 0.9
    for metric in readout.metrics.values():
        best, worse = (metric(y.numpy(), readout.predictions(outputs).numpy()) for outputs in (right, wrong))
        assert best > worse and best == pytest.approx(metric(y.numpy(), y.numpy()), abs=1e-4)


@pytest.mark.parametrize(("readout", "y"), readouts())
def test_a_probe_and_a_head_find_what_is_in_the_features(readout, y):
    draw = torch.Generator().manual_seed(2)
    targets = readout.targets(y)
    x = 3 + targets @ torch.randn(readout.width, 8, generator=draw) + 0.1 * torch.randn(60, 8, generator=draw)
    x.requires_grad_()
    fit = probe_loss(x[:40], y[:40], x[40:], y[40:], readout)
    weight, bias = ridge_head(x[:40], y[:40], readout)
    outputs = x[40:] @ weight.T + bias
    assert min(fit.quality, readout.quality(outputs, y[40:])) > 0.9
    for loss in (fit.loss, readout.loss(outputs, y[40:])):
        (slope,) = torch.autograd.grad(loss, x, retain_graph=True)
        assert slope.abs().sum() > 0


def test_numbers_are_read_and_told(counts):
    task = load_numbers(TaskConfig(path=str(counts), kind="regression"))
    assert task.labels == [] and isinstance(task.splits["train"].labels[0], float)
    assert "200 / 120 / 120 rows, a number each: -20 to 20" in describe_numbers(task)[0]


@pytest.mark.parametrize("label", ["many", None, True, float("nan")])
def test_what_is_no_number_is_refused_with_its_row(counts, tmp_path, label):
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"text": "a", "label": label}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"row 0.*"):
        load_numbers(TaskConfig(path=str(tmp_path), kind="regression"))


def test_ratings_without_the_kind_are_refused_with_what_to_set(counts, tmp_path):
    for split in ("train", "dev", "test"):
        rows = [json.dumps({"text": f"a {i}", "label": i + 0.5}) for i in range(4)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(ValueError, match=r'task\.kind = "regression"'):
        load_task(TaskConfig(path=str(tmp_path)))


@pytest.mark.parametrize("adaptation", ["probe", "finetune", "weight_mask"])
def test_an_outer_loss_of_numbers_is_differentiated(counted, adaptation):
    problem = Problem(counted(f"outer.adaptation={adaptation}", "inner.steps=4", "inner.window=2", "inner.every=2"))
    found = rollout(problem, initial_policy(problem), 0)
    assert sum(float(g.abs().sum()) for g in found.gradient.values()) > 0
    assert np.isfinite(found.metrics["outer_loss"])


def test_dev_chooses_and_test_is_scored(counted):
    problem = Problem(counted('evaluate.downstream=["probe", "finetune"]', "evaluate.finetune.epochs=3"))
    found = run_trial(problem, None, "none", 0)
    assert -1 <= found.score <= 1 and set(found.extra) == {"finetune"}
    assert dev_score(problem, problem.fresh_model(0)) <= 1


def test_fine_tuning_learns_what_the_number_counts(counted):
    problem = Problem(counted("evaluate.finetune.epochs=10", "evaluate.finetune.learning_rate=0.005"))
    features = FrozenFeatures(problem, problem.fresh_model(0))
    frozen, tuned = (how.fit(features, np.arange(200), 0) for how in (probe, finetune))
    test = problem.tests()["test"]
    assert tuned.dev > frozen.dev + 0.1
    assert tuned.score(test) > 0.3 > frozen.score(test) + 0.1


def test_the_query_loss_is_in_standard_deviations(counted):
    problem = Problem(counted())
    loss = outer_problem(problem, [0], lambda **_: None)(problem.fresh_model(0))
    assert 0.1 < loss.item() < 3  # and not in hundreds, as squared counts are


@pytest.mark.parametrize(("metric", "right"), [("accuracy", False), ("spearman", True)])
def test_a_metric_must_fit_the_kind(counted, metric, right):
    if right:
        assert counted(f"task.metric={metric}").task.metric == metric
        return
    with pytest.raises(ValueError, match="set it to one of pearson, spearman"):
        counted(f"task.metric={metric}")


def test_what_needs_classes_says_so(counted):
    with pytest.raises(ValueError, match=r"needs texts with classes, but the task is one of regression: task\.kind"):
        initial_policy(Problem(counted("policy.prior={saliency=1}")))
