"""Metrics of classes, by hand."""

import numpy as np
import pytest

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
