from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from policylearn.arms.arms import arm_policy
from policylearn.config import PlantedContextConfig, load_config
from policylearn.data.planted import is_useful
from policylearn.data.planted_context import USEFUL, context_records, context_task, context_tokenizer
from policylearn.problems.of_config import problem_of

CONFIG = PlantedContextConfig(documents=1500)
RECORDS = list(context_records(CONFIG))
ARMS = ["oracle", "oracle-context"]
SMALL = ["task.path=planted-context", "planted_context.documents=60", f"evaluate.arms={ARMS}"]


def class_of(word: str) -> str:
    return word.split("_")[0]


@pytest.mark.long
def test_the_same_seed_makes_the_same_texts_and_another_one_others():
    other = CONFIG.model_copy(update={"seed": 1})
    assert list(context_records(CONFIG)) == RECORDS != list(context_records(other))
    assert context_task(CONFIG) == context_task(CONFIG) != context_task(other)


def test_a_word_is_useful_if_it_is_of_a_class_and_follows_a_marker():
    for text, record in RECORDS:
        words = text.split()
        beside = [0, *(int(is_useful(word) and before.startswith("marker")) for before, word in pairwise(words))]
        assert record[USEFUL] == beside and sum(beside)


def test_words_beside_markers_are_of_one_class_and_those_that_stand_alone_of_any():
    agree = Counter()
    for text, record in RECORDS:
        words = np.array(text.split())
        marked = {class_of(word) for word in words[np.array(record[USEFUL]) == 1]}
        assert len(marked) == 1
        alone = [class_of(w) for w, useful in zip(words, record[USEFUL], strict=True) if is_useful(w) and not useful]
        agree.update(word in marked for word in alone)
    assert stats.binomtest(agree[True], agree.total(), 1 / CONFIG.classes).pvalue > 1e-3


def test_a_type_is_useful_about_as_often_as_any_other_of_its_kind():
    seen, useful = Counter(), Counter()
    for text, record in RECORDS:
        for word, wanted in zip(text.split(), record[USEFUL], strict=True):
            seen[word] += is_useful(word)
            useful[word] += wanted
    kept = [word for word in seen if seen[word]]
    table = [[useful[word] for word in kept], [seen[word] - useful[word] for word in kept]]
    assert len(kept) == CONFIG.classes * CONFIG.class_words and stats.chi2_contingency(table).pvalue > 1e-3


def test_a_labelled_document_holds_words_of_its_class_after_markers():
    split = context_task(CONFIG).splits["dev"]
    for text, label in zip(split.texts, split.labels, strict=True):
        words = text.split()
        marked = [class_of(w) for before, w in pairwise(words) if before.startswith("marker") and is_useful(w)]
        assert set(marked) == {label} and 1 <= len(marked) <= CONFIG.labelled_class_words
        assert sum(map(is_useful, words)) - len(marked) <= CONFIG.labelled_alone_words


def test_the_tokenizer_knows_every_word():
    tokenizer = context_tokenizer(CONFIG)
    for text in [text for text, _ in RECORDS[:200]] + context_task(CONFIG).splits["train"].texts:
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_one_oracle_likes_a_word_wherever_it_stands_and_the_other_beside_markers_only():
    problem = problem_of(load_config(None, SMALL))
    ids, real = problem.domain.batch(range(60), problem.tokenizer.pad_token_id)
    columns = problem.domain.values(range(60), ids.shape[1])
    tokens = problem.tokenizer.convert_ids_to_tokens(list(range(len(problem.tokenizer))))
    words, useful = torch.tensor([is_useful(token) for token in tokens])[ids], columns["oracle-context"] > 0
    assert (useful & words).any() and (words & ~useful).any() and not (useful & ~words).any()
    table, context = (arm_policy(problem, arm).probabilities(ids, real, columns=columns) for arm in ARMS)
    assert table[words & ~useful].mean() > 0.9 * table[useful].mean() > 5 * table[real & ~words].mean()
    assert context[words & ~useful].mean() < 0.1 * context[useful].mean()


def test_its_corpora_come_with_the_task_unless_they_are_named():
    config = load_config(None, ["task.path=planted-context", "general.path=planted"])
    assert (config.domain.path, config.general.path, config.name) == ("planted-context", "planted", "planted-context")


def test_what_only_this_benchmark_knows_is_refused_elsewhere():
    with pytest.raises(ValueError, match="no column useful"):
        _ = problem_of(load_config(None, ["evaluate.arms=[oracle-context]"])).domain
