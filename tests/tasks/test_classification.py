"""Metrics of classes, by hand; classes that few labelled rows have, or none."""

import numpy as np
import pytest

from policylearn.adapt import finetune, probe
from policylearn.adapt.chosen import FrozenFeatures
from policylearn.problems.of_config import problem_of
from policylearn.tasks.classification import METRICS

Y = np.array([0, 0, 0, 1, 1, 2])


@pytest.mark.parametrize(
    ("metric", "predicted", "expected"),
    [
        ("accuracy", [0, 0, 1, 1, 0, 2], 4 / 6),
        ("micro_f1", [0, 0, 1, 1, 0, 2], 4 / 6),
        ("macro_f1", [0, 0, 1, 1, 0, 2], (2 / 3 + 1 / 2 + 1) / 3),
        ("mcc", [0, 0, 1, 1, 0, 2], (4 * 6 - 14) / (36 - 14)),  # 14 = Σ true · predicted of each class
        ("mcc", [0] * 6, 0.0),
        ("macro_f1", [0] * 6, (2 / 3) / 3),
    ],
)
def test_metrics_by_hand(metric, predicted, expected):
    assert METRICS[metric](Y, np.array(predicted)) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["tiny", "of_tags"])
@pytest.mark.parametrize("method", [probe, finetune])
def test_labelled_rows_of_one_class_make_a_model_that_says_that_one(request, kind, method):
    problem = problem_of(request.getfixturevalue(kind)("evaluate.finetune.epochs=1"))
    train, picked = problem.examples("train"), np.arange(6)
    train.y[train.targets_of(picked)] = 0
    chosen = method.fit(FrozenFeatures(problem, problem.fresh_model(0)), picked, 0)
    dev = problem.examples("dev")
    expected = float((dev.y == 0).float().mean()) if kind == "tiny" else 0.0  # F1 of no span at all
    assert chosen.score(dev) == pytest.approx(expected, abs=1e-6)
