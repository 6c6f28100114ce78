"""Words as the examples have them."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from policylearn import PolicyCollator
from policylearn.collator.words import word_numbers
from policylearn.config import MaskingConfig
from policylearn.policy.policy import uniform_policy
from policylearn.scores.heuristic import scorer_policy

TEXTS = ["bababi gogu mimi bebi fafa", "qqq bo mimi", "fafa bebi " * 9]
LLAMA = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@pytest.fixture(scope="module")
def llama():
    """A byte-level tokenizer that splits by a regular expression of its own, whose pieces do not tell words."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=["[PAD]", "[MASK]"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["the river runs past the old theatre"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", mask_token="[MASK]")


def with_words(tokenizer, text):
    encoded = tokenizer(text)
    return {"input_ids": encoded["input_ids"], "word_ids": encoded.word_ids()}


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_words_of_the_tokenizer_itself_change_nothing(wordpiece, unit):
    policy = uniform_policy(wordpiece, MaskingConfig(unit=unit))
    usual, own = (PolicyCollator(wordpiece, policy=policy, words=words) for words in (None, "word_ids"))
    for collator in (usual, own):
        collator.set_epoch(2)
    rows = [with_words(wordpiece, text) for text in TEXTS]
    found, wanted = own(rows), usual([{"input_ids": row["input_ids"]} for row in rows])
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_words_given_where_tokens_are_masked_are_warned_of_once(wordpiece, recwarn):
    collator, row = PolicyCollator(wordpiece, words="word_ids"), with_words(wordpiece, TEXTS[0])
    for _ in range(3):
        collator([row])
    assert ["set whole_word_mask=True" in str(one.message) for one in recwarn] == [True]
    PolicyCollator(wordpiece, words="word_ids", whole_word_mask=True)([row])
    PolicyCollator(wordpiece, words="word_ids", policy=scorer_policy("idf", wordpiece, TEXTS))([row])
    assert len(recwarn) == 1


@pytest.mark.parametrize("words", ["word_ids", lambda row: row["word_ids"]])
def test_words_in_a_slice_of_unequal_rows(wordpiece, words):
    collator, rows = PolicyCollator(wordpiece, words=words), [with_words(wordpiece, text) for text in TEXTS]
    collator.set_epoch(2)
    one, other = collator(rows), collator({name: [row[name] for row in rows] for name in rows[0]})
    assert all(torch.equal(one[name], other[name]) for name in ("input_ids", "labels", "attention_mask"))


def test_words_are_masked_whole_where_pieces_do_not_tell(llama):
    with pytest.raises(ValueError, match='words="word_ids"'):
        PolicyCollator(llama, whole_word_mask=True)
    collator = pickle.loads(
        pickle.dumps(PolicyCollator(llama, whole_word_mask=True, words="word_ids", mlm_probability=0.4))
    )
    row, several = with_words(llama, "a river of shallow theatres runs by (westwards) past 12345 willows"), 0
    numbers = torch.tensor(row["word_ids"])
    for epoch in range(20):
        collator.set_epoch(epoch)
        masked = collator([row])["labels"][0] != -100
        shares = [masked[numbers == word].float().mean().item() for word in numbers.unique()]
        assert {*shares} <= {0.0, 1.0} and masked.any()
        several += sum(share == 1.0 and int((numbers == word).sum()) > 1 for word, share in enumerate(shares))
    assert several > 5


def test_three_ways_to_say_the_same(wordpiece):
    row = with_words(wordpiece, TEXTS[0])
    ids = row["word_ids"]
    continued = [i for i in range(1, len(ids)) if ids[i] is not None and ids[i] == ids[i - 1]]
    rows = {"word_ids": row, "chinese_ref": {"input_ids": row["input_ids"], "chinese_ref": continued}}
    batches = []
    for words in ("word_ids", "chinese_ref", lambda example: ids):
        given = rows[words] if isinstance(words, str) else {"input_ids": row["input_ids"]}
        collator = PolicyCollator(wordpiece, whole_word_mask=True, words=words, mlm_probability=0.5)
        collator.set_epoch(0)
        batches.append(collator([given, given]))
    assert continued and all(batch.keys() == batches[0].keys() for batch in batches)
    assert all(torch.equal(batch["labels"], batches[0]["labels"]) for batch in batches)


def test_positions_beyond_a_text_that_was_cut_are_none_of_it():
    """As transformers' collator had it; scripts know positions of whole texts."""
    row = {"input_ids": [2, 7, 8, 9, 3]}
    for made in (list, tuple, np.array, torch.tensor):
        assert word_numbers(row | {"chinese_ref": made([2, 7, 99])}, "chinese_ref").tolist() == [0, 1, 1, 2, 3]
    assert word_numbers(row | {"chinese_ref": []}, "chinese_ref").tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"tokens of shape \[1, 5\] has \[2\]: give examples one by one"):
        word_numbers({"input_ids": torch.tensor([row["input_ids"]]), "chinese_ref": [2]}, "chinese_ref")


def test_a_list_of_chinese_continuations_leaves_other_words_whole(wordpiece):
    """The scripts say nothing of pieces that are marked, and transformers' collator joined them too."""
    row = {"input_ids": wordpiece("mababo le")["input_ids"], "chinese_ref": [4]}
    assert wordpiece.convert_ids_to_tokens(row["input_ids"])[1:-1] == ["ma", "##ba", "##bo", "le"]
    assert word_numbers(row, "chinese_ref", wordpiece).tolist() == [0, 1, 1, 1, 1, 2]
    assert word_numbers(row | {"chinese_ref": []}, "chinese_ref", wordpiece).tolist() == [0, 1, 1, 1, 2, 3]
    collator = PolicyCollator(wordpiece, whole_word_mask=True, words="chinese_ref", mlm_probability=0.5)
    for epoch in range(10):
        collator.set_epoch(epoch)
        masked = collator([row | {"chinese_ref": []}])["labels"][0, 1:4] != -100
        assert masked.all() or not masked.any()


def test_where_words_are_marked_otherwise_a_heading_begins_one():
    """As of Markdown: `##` is a word of the text."""
    backend = Tokenizer(models.BPE({piece: i for i, piece in enumerate(["a", "##", "b"])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    row = {"input_ids": [0, 1, 2], "chinese_ref": [2]}
    assert word_numbers(row, "chinese_ref", tokenizer).tolist() == [0, 1, 1]


def test_that_words_change_nothing_is_said_where_something_is_masked(wordpiece):
    settings = {"whole_word_mask": False, "words": "word_ids"}
    with pytest.warns(UserWarning, match="words= changes nothing: tokens are masked one by one"):
        PolicyCollator(wordpiece, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PolicyCollator(wordpiece, mlm=False, **settings)


def test_nothing_is_spelt_as_data_frames_do():
    row = {"input_ids": [2, 7, 8, 3]}
    for nothing in (None, float("nan"), np.nan, -1):
        assert word_numbers(row | {"word_ids": [nothing, 0, 0.0, nothing]}, "word_ids").tolist() == [-1, 0, 0, -1]


def test_words_are_packed_along(wordpiece):
    collator = PolicyCollator(wordpiece, whole_word_mask=True, words="word_ids", mlm_probability=0.4)
    alone = PolicyCollator(wordpiece, whole_word_mask=True, words="word_ids", mlm_probability=0.4)
    rows = [with_words(wordpiece, text) for text in TEXTS]
    packed = {
        "input_ids": torch.tensor([[i for row in rows for i in row["input_ids"]]]),
        "word_ids": torch.tensor([[-1 if n is None else n for row in rows for n in row["word_ids"]]]),
        "position_ids": torch.tensor([[i for row in rows for i in range(len(row["input_ids"]))]]),
    }
    for one in (collator, alone):
        one.set_epoch(1)
    wanted = torch.cat([alone([row])["labels"][0] for row in rows])
    assert torch.equal(collator(packed)["labels"][0], wanted)


@pytest.mark.parametrize(
    ("words", "row", "said"),
    [
        ("word_ids", {}, "no such column"),
        ("word_ids", {"word_ids": [0, 1]}, "give a number per token"),
        (lambda row: [0], {}, "give a number per token"),
        ("sentence", {}, "words 'sentence'"),
        (lambda row: None, {}, "gives None: give a number per token"),
        (lambda row: ["a"] * len(row["input_ids"]), {}, "gives 'a': give a number per token"),
        ("word_ids", {"word_ids": None}, "gives None: give a number per token"),
        ("word_ids", {"word_ids": [[0, 1]]}, r"gives \[0, 1\]: give a number per token"),
        ("chinese_ref", {"chinese_ref": [-1]}, r"has \[-1\]: give examples .* positions from 0 on"),
        ("chinese_ref", {"chinese_ref": [1.5]}, r"has \[1\.5\]: give"),
        ("chinese_ref", {"chinese_ref": None}, r"has None: give"),
    ],
)
def test_words_that_do_not_fit_are_refused(wordpiece, words, row, said):
    with pytest.raises(ValueError, match=said):
        PolicyCollator(wordpiece, words=words)([{"input_ids": wordpiece(TEXTS[0])["input_ids"], **row}])
