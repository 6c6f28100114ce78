import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policylearn.scores.tficf import idf, tficf


def scores(domain: np.ndarray, general: np.ndarray) -> np.ndarray:
    return tficf(domain, domain.sum(), general, general.sum())


def test_the_formula_by_hand():
    domain, general = np.array([2, 1, 1, 0, 4]), np.array([1, 5, 0, 4, 0])
    expected = [2 / 8 * math.log(10 / 2), 1 / 8 * math.log(10 / 6), 1 / 8 * math.log(10 / 1), 0, 4 / 8 * math.log(10)]
    assert scores(domain, general).tolist() == pytest.approx(expected)


def test_it_depends_on_relative_frequency_in_the_domain():
    domain, general = np.array([3, 1, 0]), np.array([40, 5, 2])
    assert np.allclose(scores(domain * 1000, general), scores(domain, general))


def test_totals_are_those_of_the_corpora_not_of_the_words_asked_for():
    some = tficf(np.array([2]), 8, np.array([1]), 10)
    assert some[0] == scores(np.array([2, 6]), np.array([1, 9]))[0]


def test_a_word_of_general_language_scores_below_an_equally_frequent_one_of_the_domain():
    found = scores(np.array([50, 50]), np.array([1000, 1]))
    assert found[1] > 5 * found[0]


@pytest.mark.parametrize(("domain", "general", "name"), [([0, 0], [1, 2], "domain"), ([1, 2], [0, 0], "general")])
def test_an_empty_corpus_is_named_with_the_settings_to_check(domain, general, name):
    expected = rf"the {name} corpus holds no word the tokenizer knows: check {name}.path, {name}.text and model.tokeniz"
    with pytest.raises(ValueError, match=expected):
        scores(np.array(domain), np.array(general))


@settings(max_examples=50)
@given(st.integers(1, 10**9), st.lists(st.floats(0, 1), min_size=1))
def test_idf_falls_from_a_word_in_no_text_to_0_for_one_in_every_text(documents, shares):
    counts = np.sort((np.array([0, *shares, 1]) * documents).astype(np.int64))
    found = idf(counts, documents)
    assert found[0] == pytest.approx(math.log(1 + documents)) and found[-1] == 0
    assert (np.diff(found) <= 0).all() and (np.diff(found)[np.diff(counts) > 0] < 0).all()
