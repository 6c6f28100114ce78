from collections import Counter

import numpy as np
import pytest
from scipy import stats

from policylearn.config import PlantedConfig
from policylearn.data.planted import (
    class_words,
    distractor_words,
    domain_corpus,
    general_corpus,
    generic_words,
    is_useful,
    planted_task,
    planted_tokenizer,
)

CONFIG = PlantedConfig(documents=1500)
TASK = planted_task(CONFIG)


def kind(word: str) -> str:
    return word.split("_")[0]


def topic(text: str) -> set[int]:
    """Halves of the distractor words that occur in a text."""
    return {int(w.split("_")[1]) >= CONFIG.distractor_words // 2 for w in text.split() if kind(w) == "distractor"}


def test_the_same_seed_makes_the_same_texts_and_another_one_others():
    again, other = planted_task(CONFIG), planted_task(CONFIG.model_copy(update={"seed": 1}))
    assert again == TASK != other
    assert domain_corpus(CONFIG) == domain_corpus(CONFIG) != domain_corpus(CONFIG.model_copy(update={"seed": 1}))
    assert general_corpus(CONFIG) == general_corpus(CONFIG)


def test_splits_have_their_sizes_and_share_no_text():
    assert {name: len(split) for name, split in TASK.splits.items()} == {"train": 1000, "dev": 1000, "test": 2000}
    texts = [set(split.texts) for split in TASK.splits.values()]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]


@pytest.mark.parametrize("cap", [1, 2, 4])
def test_a_labelled_document_holds_a_few_words_of_its_own_class_and_none_of_another(cap):
    task = planted_task(PlantedConfig(classes=3, labelled_class_words=cap, dev=9, test=9))
    found = Counter()
    for text, label in zip(task.splits["train"].texts, task.splits["train"].labels, strict=True):
        useful = [kind(word) for word in text.split() if is_useful(word)]
        assert set(useful) == {label}
        found[len(useful)] += 1
    assert set(found) == set(range(1, cap + 1))


def test_classes_are_about_equally_frequent():
    counts = Counter(TASK.splits["train"].labels)
    assert set(counts) == set(TASK.labels) == {"class0", "class1"}
    assert stats.binomtest(counts["class0"], 1000, 0.5).pvalue > 1e-3


def test_domain_documents_have_the_promised_shares_of_words_and_one_class_each():
    documents = [text.split() for text in domain_corpus(CONFIG)]
    assert len(documents) == CONFIG.documents
    assert np.mean([len(words) == CONFIG.length for words in documents]) > 0.99
    n = CONFIG.documents * CONFIG.length
    for share, wanted in [("class", CONFIG.class_share), ("distractor", CONFIG.distractor_share)]:
        found = sum(word.startswith(share) for words in documents for word in words) / n
        assert abs(found - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / n)
    assert all(len({kind(w) for w in words if is_useful(w)}) == 1 for words in documents)
    assert all(len(topic(" ".join(words))) <= 1 for words in documents)


def test_general_documents_are_generic_and_follow_zipf():
    words = Counter(word for text in general_corpus(CONFIG) for word in text.split())
    assert {kind(word) for word in words} == {"generic"}
    assert words["generic_000"] / words["generic_009"] == pytest.approx(10, rel=0.15)


def table(of_text) -> np.ndarray:
    """Contingency table of a property of labelled texts against their label."""
    split = TASK.splits["test"]
    pairs = Counter((of_text(text), label) for text, label in zip(split.texts, split.labels, strict=True))
    values = sorted({value for value, _ in pairs})
    return np.array([[pairs[value, label] for label in TASK.labels] for value in values])


def test_distractors_say_nothing_about_the_label():
    assert stats.chi2_contingency(table(lambda text: tuple(topic(text)))).pvalue > 1e-3
    one_word = table(lambda text: "distractor_00" in text.split())
    assert one_word.min() > 5 and stats.chi2_contingency(one_word).pvalue > 1e-3


def test_that_test_would_notice_a_word_that_does():
    assert stats.chi2_contingency(table(lambda text: "class0_00" in text.split())).pvalue < 1e-3


def test_the_tokenizer_knows_every_word_and_gives_it_back():
    tokenizer = planted_tokenizer(CONFIG)
    texts = TASK.splits["train"].texts[:50] + domain_corpus(CONFIG)[:50] + general_corpus(CONFIG)[:50]
    for text, ids in zip(texts, tokenizer(texts)["input_ids"], strict=True):
        assert tokenizer.unk_token_id not in ids
        assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer("unheard_of")["input_ids"][1] == tokenizer.unk_token_id
    words = [*class_words(CONFIG, 0), *class_words(CONFIG, 1), *distractor_words(CONFIG), *generic_words(CONFIG)]
    assert len(tokenizer) == 5 + len(set(words)) and tokenizer.mask_token_id is not None
