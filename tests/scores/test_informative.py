from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policylearn.config import PlantedConfig, ScoresConfig
from policylearn.data.planted import planted_tokenizer
from policylearn.masking import vocabulary
from policylearn.scores import informative as module
from policylearn.scores.informative import PRIOR, count_pairs, frequent_types, informative, mean_pmi
from policylearn.scores.reading import Reading
from policylearn.scores.sources import Sources

TEXTS = st.lists(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=9), min_size=1, max_size=6)
"""Texts of (token id, whether it begins a word)."""


def reading(texts: list[list[tuple[int, bool]]]) -> Reading:
    ids = np.array([token for text in texts for token, _ in text], dtype=np.int64)
    document = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    begins = np.array([opens or not i for text in texts for i, (_, opens) in enumerate(text)], dtype=bool)
    lead = begins.nonzero()[0]
    return Reading(ids, document, lead)


def pairs_by_hand(texts: list[list[tuple[int, bool]]], types: list[int], window: int) -> list[list[int]]:
    pairs = [[0] * len(types) for _ in types]
    for text in texts:
        words = np.cumsum([opens for _, opens in text])
        for i, (one, _) in enumerate(text):
            for j, (other, _) in enumerate(text):
                near = 0 < abs(i - j) <= window and words[i] != words[j]
                if near and one in types and other in types:
                    pairs[types.index(one)][types.index(other)] += 1
    return pairs


@settings(max_examples=150)
@given(TEXTS, st.lists(st.integers(0, 5), min_size=1, unique=True), st.integers(1, 4))
def test_pairs_are_those_of_a_loop_over_all_pairs(texts, types, window):
    # The first token of a text begins a word, whatever was drawn.
    texts = [[(token, opens or not i) for i, (token, opens) in enumerate(text)] for text in texts]
    found = count_pairs([reading(texts)], np.array(types), size=6, window=window)
    assert found.tolist() == pairs_by_hand(texts, types, window)


@settings(max_examples=50)
@given(TEXTS, st.randoms(use_true_random=False), st.integers(1, 5))
def test_neither_the_order_of_texts_nor_how_they_are_cut_into_chunks_matters(texts, random, chunk):
    types = np.arange(6)
    whole = count_pairs([reading(texts)], types, size=6)
    random.shuffle(texts)
    chunks = [reading(texts[i : i + chunk]) for i in range(0, len(texts), chunk)]
    assert np.array_equal(count_pairs(chunks, types, size=6), whole)


@settings(max_examples=50)
@given(st.integers(2, 7), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 5.0]))
def test_the_mean_is_that_of_a_loop(m, seed, prior):
    upper = np.random.default_rng(seed).integers(0, 4, (m, m))
    pairs = upper + upper.T
    n, margins = max(pairs.sum(), 1), pairs.sum(1)
    scores = mean_pmi(pairs, prior)
    for a in range(m):
        ratios = [(pairs[a, b] + prior, margins[a] * margins[b] / n + prior) for b in range(m)]
        total = sum(pairs[a, b] * log(ratios[b][0] / ratios[b][1]) for b in range(m) if pairs[a, b])
        assert np.isnan(scores[a]) if margins[a] == 0 else scores[a] == pytest.approx(total / margins[a], abs=1e-12)
        assert not (prior == 0 and scores[a] < -1e-12)  # a Kullback-Leibler divergence


def test_blocks_of_rows_are_put_together_again(monkeypatch):
    pairs = np.random.default_rng(0).integers(0, 9, (50, 50))
    pairs += pairs.T
    whole = mean_pmi(pairs)
    monkeypatch.setattr(module, "BLOCK", 7)
    assert np.array_equal(mean_pmi(pairs), whole)


def test_the_prior_keeps_rare_types_from_winning_by_being_rare():
    """Contexts are drawn alike for all types; some types just occur less often."""
    random = np.random.default_rng(0)
    often = np.r_[np.full(20, 40.0), np.full(20, 1.0)]
    expected = np.outer(often, often)
    upper = np.triu(random.poisson(expected * 400 / expected.mean() / 40))
    pairs = upper + np.triu(upper, 1).T
    raw, drawn = mean_pmi(pairs, prior=0), mean_pmi(pairs, PRIOR)
    assert raw[20:].mean() > 10 * raw[:20].mean()
    assert abs(drawn[20:].mean()) < raw[20:].mean() / 4


def test_types_that_take_part_are_allowed_frequent_and_seen():
    counts, allowed = np.array([9, 3, 0, 5, 3]), np.array([False, True, True, True, True])
    assert frequent_types(counts, allowed, most=2).tolist() == [3, 1]
    assert frequent_types(counts, allowed, most=9).tolist() == [3, 1, 4]


WORDS = PlantedConfig(class_words=5, distractor_words=6, generic_words=30)


def sources(texts: list[str]) -> Sources:
    tokenizer = planted_tokenizer(WORDS)
    nothing = pytest.fail
    return Sources(
        config=ScoresConfig(),
        tokenizer=tokenizer,
        vocabulary=vocabulary(tokenizer),
        domain=lambda: iter(texts),
        general=nothing,
        records=nothing,
        model=nothing,
        labelled=nothing,
        domain_rows=nothing,
    )


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Words spread evenly, and two that stand in one text of ten, but then always together."""
    random = np.random.default_rng(0)
    texts = []
    for number in range(600):
        words = [f"generic_{random.integers(20):03d}" for _ in range(12)]
        if number % 10 == 0:
            words[random.integers(6)] = "distractor_00"
            words[6 + random.integers(6)] = "distractor_01"
        texts.append(" ".join(words))
    return texts


def by_word(found: torch.Tensor) -> dict[str, float]:
    return {word: found[i].item() for word, i in planted_tokenizer(WORDS).get_vocab().items()}


def test_words_that_always_stand_together_score_above_words_spread_evenly(texts):
    scores = by_word(informative(sources(texts)).types)
    spread = [scores[f"generic_{i:03d}"] for i in range(20)]
    pair = scores["distractor_00"], scores["distractor_01"]
    assert max(pair) == 1.0 and min(pair) > 0.9
    assert max(spread) < min(pair) / 4


def test_types_that_take_no_part_are_neither_sought_nor_avoided(texts, monkeypatch):
    everything = by_word(informative(sources(texts)).types)
    assert everything["generic_029"] == everything["[MASK]"]  # not seen; special
    seen = sorted(everything[word] for word in everything if word[-3:] < "020" and word.startswith("generic"))
    assert seen[0] < everything["generic_029"] < 1.0
    monkeypatch.setattr(module, "TYPES", 20)
    fewer = by_word(informative(sources(texts)).types)
    assert fewer["distractor_00"] == fewer["[MASK]"]  # now among the rarer ones


def test_the_order_of_texts_leaves_every_bit_alone(texts):
    assert torch.equal(informative(sources(texts)).types, informative(sources(texts[::-1])).types)


@pytest.mark.parametrize("texts", [[""], ["generic_000", "generic_001"]])
def test_a_corpus_without_neighbours_is_named(texts):
    with pytest.raises(ValueError, match=r"check domain\.path and domain\.text"):
        informative(sources(texts))
