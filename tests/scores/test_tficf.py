import math

import numpy as np
import pytest
import torch

from policylearn.scores.tficf import tficf


def test_the_formula_by_hand():
    domain, general = np.array([2, 1, 1, 0, 4]), np.array([1, 5, 0, 4, 0])
    expected = [2 / 8 * math.log(10 / 2), 1 / 8 * math.log(10 / 6), 1 / 8 * math.log(10 / 1), 0, 4 / 8 * math.log(10)]
    found = tficf(domain, general)
    assert found.dtype == torch.float32 and found.tolist() == pytest.approx(expected)


def test_it_depends_on_relative_frequency_in_the_domain():
    domain, general = np.array([3, 1, 0]), np.array([40, 5, 2])
    assert torch.allclose(tficf(domain * 1000, general), tficf(domain, general))


def test_a_token_of_general_language_scores_below_an_equally_frequent_one_of_the_domain():
    scores = tficf(np.array([50, 50]), np.array([1000, 1]))
    assert scores[1] > 5 * scores[0]


@pytest.mark.parametrize(("domain", "general", "name"), [([0, 0], [1, 2], "domain"), ([1, 2], [0, 0], "general")])
def test_an_empty_corpus_is_named_with_the_settings_to_check(domain, general, name):
    with pytest.raises(ValueError, match=rf"the {name} corpus holds no tokens: check {name}.path and {name}.text"):
        tficf(np.array(domain), np.array(general))
