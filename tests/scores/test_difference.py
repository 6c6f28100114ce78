import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity

from policylearn.scores.difference import anchors, nearest_anchor_similarity

ANY = torch.ones(5, dtype=torch.bool)
# Typical of the domain: 0 most, then 1, then 2 (rare). 3 is a function word, 4 never occurs in the domain.
DOMAIN, GENERAL = np.array([40, 20, 2, 938, 0]), np.array([0, 1, 0, 699, 300])


def chosen(allowed=ANY, k=9, min_count=1, min_ratio=2.0) -> list[int]:
    return anchors(DOMAIN, GENERAL, allowed, k, min_count, min_ratio).tolist()


def test_the_most_typical_come_first():
    assert chosen() == [0, 1, 2]
    assert chosen(k=2) == [0, 1]


def test_a_frequent_word_of_any_text_is_no_anchor_although_its_tficf_is_high():
    assert chosen(min_ratio=0.0) == [3, 0, 1, 2]
    assert chosen(min_ratio=2.0) == [0, 1, 2]


def test_rare_types_are_no_anchors():
    assert chosen(min_count=3) == [0, 1]


def test_only_allowed_types_are_anchors():
    assert chosen(allowed=torch.tensor([False, True, True, True, True])) == [1, 2]


@pytest.mark.parametrize(
    "settings", [{"allowed": ~ANY}, {"min_count": 1000}, {"min_ratio": 1e9}], ids=["allowed", "count", "ratio"]
)
def test_no_anchor_at_all_says_what_was_asked_for_and_what_to_check(settings):
    with pytest.raises(ValueError, match=r"occurs \d+ times and is .*domain.path.*scores.anchor_count") as failure:
        chosen(**settings)
    assert str(settings.get("min_count", 1)) in str(failure.value)
    assert str(settings.get("min_ratio", 2.0)) in str(failure.value)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 6))
def test_similarity_is_the_cosine_to_the_nearest_anchor(seed, k):
    random = torch.Generator().manual_seed(seed)
    vectors, ids = torch.randn(12, 4, generator=random), torch.randperm(12, generator=random)[:k]
    expected = cosine_similarity(vectors[:, None], vectors[None, ids], dim=2).amax(1)
    found = nearest_anchor_similarity(vectors, ids)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found[ids], torch.ones(k))
    # Lengths of vectors (frequent words have longer ones) must not count.
    scaled = vectors * torch.rand(12, 1, generator=random).add(0.1)
    torch.testing.assert_close(nearest_anchor_similarity(scaled, ids), found)


def test_a_type_without_a_vector_is_like_nothing():
    assert nearest_anchor_similarity(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([1]))[0] == 0
