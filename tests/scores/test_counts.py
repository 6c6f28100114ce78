from collections import Counter

import numpy as np
import pytest

from policylearn.scores.counts import count_tokens


@pytest.fixture
def texts(tokenizer) -> list[str]:
    words = [w for w in tokenizer.get_vocab() if not w.startswith("[")]
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(words, size=rng.integers(0, 9))) for _ in range(50)]


@pytest.mark.parametrize("chunk", [1, 7, 50, 1000])
def test_streaming_counts_what_counting_at_once_counts(texts, tokenizer, monkeypatch, chunk):
    monkeypatch.setattr("policylearn.scores.counts.CHUNK", chunk)
    found = count_tokens((text for text in texts), tokenizer)
    by_hand = Counter(word for text in texts for word in text.split())
    assert found.sum() == sum(by_hand.values()) > 0
    assert {word: found[i] for word, i in tokenizer.get_vocab().items() if found[i]} == by_hand


def test_special_tokens_are_not_added(texts, tokenizer):
    assert count_tokens(texts, tokenizer)[tokenizer.all_special_ids].sum() == 0


def test_nothing_to_count_is_all_zeros(tokenizer):
    for texts in ([], [""], ["", ""]):
        found = count_tokens(texts, tokenizer)
        assert found.shape == (len(tokenizer),) and found.sum() == 0


def test_a_corpus_is_never_held_at_once(texts, tokenizer, monkeypatch):
    monkeypatch.setattr("policylearn.scores.counts.CHUNK", 4)
    read, seen = [], []

    class Recording:
        def __len__(self):
            return len(tokenizer)

        def __call__(self, chunk, **settings):
            seen.append((len(chunk), len(read)))
            return tokenizer(chunk, **settings)

    count_tokens((read.append(text) or text for text in texts), Recording())
    assert seen[0] == (4, 4) and max(size for size, _ in seen) == 4 and seen[-1] == (2, 50)
