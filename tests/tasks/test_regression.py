"""Texts with a number each, from the file to the score."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification

from policylearn.adapt import finetune, probe
from policylearn.adapt.chosen import FrozenFeatures
from policylearn.adapt.outer import dev_score, outer_problem
from policylearn.arms.arms import initial_policy
from policylearn.config import TaskConfig
from policylearn.data.overview import describe_numbers
from policylearn.data.task import load_numbers, load_task
from policylearn.evaluation.trial import run_trial
from policylearn.learning.rollout import rollout
from policylearn.problems.of_config import problem_of
from policylearn.tasks.regression import Regression
from policylearn.weight_masks.plain import text_logits


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


@pytest.mark.parametrize("unit", [2.0**-80, 2.0**-40, 2.0**40])
def test_the_unit_of_numbers_is_nothing_to_targets(unit):
    y = torch.linspace(-1, 3, 7).square()
    assert torch.equal(Regression(unit * y).targets(unit * y), Regression(y).targets(y))


@pytest.mark.parametrize("adaptation", ["probe", "finetune", "weight_mask"])
def test_an_outer_loss_of_numbers_is_differentiated(counted, adaptation):
    problem = problem_of(counted(f"outer.adaptation={adaptation}", "inner.steps=4", "inner.window=2", "inner.every=2"))
    found = rollout(problem, initial_policy(problem), 0)
    assert sum(float(g.abs().sum()) for g in found.gradient.values()) > 0
    assert np.isfinite(found.metrics["outer_loss"])


def test_dev_chooses_and_test_is_scored(counted):
    problem = problem_of(counted('evaluate.downstream=["probe", "finetune"]', "evaluate.finetune.epochs=3"))
    found = run_trial(problem, None, "none", 0)
    assert -1 <= found.score <= 1 and set(found.extra) == {"finetune"}
    assert dev_score(problem, problem.fresh_model(0)) <= 1


def test_fine_tuning_learns_what_the_number_counts(counted):
    problem = problem_of(counted("evaluate.finetune.epochs=10", "evaluate.finetune.learning_rate=0.005"))
    features = FrozenFeatures(problem, problem.fresh_model(0))
    frozen, tuned = (how.fit(features, np.arange(200), 0) for how in (probe, finetune))
    test = problem.tests()["test"]
    assert tuned.dev > frozen.dev + 0.1
    assert tuned.score(test) > 0.3 > frozen.score(test) + 0.1


def test_the_query_loss_is_in_standard_deviations(counted):
    problem = problem_of(counted())
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
        initial_policy(problem_of(counted("policy.prior={saliency=1}")))


@pytest.mark.parametrize(("split", "labels"), [("train", [3, 3]), ("dev", [2.5]), ("test", [-1, -1, -1])])
def test_numbers_that_are_all_the_same_are_refused(tmp_path, split, labels):
    for name in ("train", "dev", "test"):
        rows = [json.dumps({"text": f"a {i}", "label": y}) for i, y in enumerate(labels if name == split else [1, 2])]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"split '{split}' needs two different numbers, it has {labels[0]} alone"):
        load_numbers(TaskConfig(path=str(tmp_path), kind="regression"))


def test_a_model_is_written_that_gives_the_numbers_themselves(policylearn, tiny_toml, counted, counts, tmp_path):
    own = ("task.kind=regression", "task.metric=negative_rmse", "evaluate.finetune.epochs=2")
    own += (f"task.path={counts}", f"model.tokenizer={counts / 'tokenizer'}", "--out", tmp_path / "out")
    status, _, err = policylearn("adapt", tiny_toml, *own, "--method", "finetune")
    assert status == 0, err
    assert "numbers = logits[:, 0]" in (tmp_path / "out/model/README.md").read_text()
    plain = AutoModelForTokenClassification.from_pretrained(tmp_path / "out/model")
    assert plain.config.problem_type == "regression"
    test = problem_of(counted()).tests()["test"]
    with torch.no_grad():
        found = text_logits(plain, *test.rows.batch(range(len(test)), 0))[:, 0]
    rmse = (found - test.y).square().mean().sqrt().item()
    assert rmse == pytest.approx(-json.loads((tmp_path / "out/result.json").read_text())["test"], rel=1e-4)
    assert 3 < rmse < 30  # of numbers from -20 to 20
    status, _, err = policylearn("adapt", tiny_toml, *own[:-1], tmp_path / "masks")
    assert status == 2 and "adapt without --method finetune needs texts with classes" in err
