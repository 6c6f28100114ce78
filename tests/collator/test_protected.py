"""What is never masked, and batches with little or nothing to mask."""

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from policylearn import PolicyCollator
from policylearn.config import MaskingConfig
from policylearn.policy.policy import uniform_policy

TEXT = [2, *range(5, 45), 3]


def masked(batch) -> torch.Tensor:
    return batch["labels"] != -100


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_the_mask_that_tokenizers_make_changes_nothing(wordpiece, unit):
    policy = uniform_policy(wordpiece, MaskingConfig(unit=unit))
    collator = PolicyCollator(wordpiece, policy=policy)
    collator.set_epoch(1)
    texts = ["ba bebi qqq. bo", "", "fa " * 30, "bababi, gogu mimi"]
    without = collator([wordpiece(text) for text in texts])
    given = collator([wordpiece(text, return_special_tokens_mask=True) for text in texts])
    assert given.keys() == without.keys() and masked(given).any()
    assert all(torch.equal(given[name], without[name]) for name in given)
    padded = wordpiece(texts, return_special_tokens_mask=True, padding=True, return_tensors="pt")
    assert all(torch.equal(collator(padded)[name], without[name]) for name in without)


@pytest.mark.parametrize("network", ["none", "context"])
@pytest.mark.parametrize("unit", ["token", "span"])
def test_what_an_example_protects_is_never_masked(make_policy, tokenizer, network, unit):
    policy = make_policy(network, learned=network != "none", masking={"unit": unit}, rate=0.3)
    collator, protected = PolicyCollator(tokenizer, policy=policy), [0, *[1, 1, 0, 0] * 10, 0]
    seen = torch.zeros(42)
    for epoch in range(60):
        collator.set_epoch(epoch)
        labels = masked(collator([{"input_ids": TEXT, "special_tokens_mask": protected}]))[0]
        assert labels.sum() == 6 or unit == "span"  # 0.3 of 20
        seen += labels
    assert (seen[torch.tensor(protected) > 0] == 0).all() and (seen > 0).sum() > 15


def test_protection_is_packed_and_padded_along(tokenizer):
    collator, protected = PolicyCollator(tokenizer, mlm_probability=0.5), [0, *[1] * 20, *[0] * 20, 0]
    packed = {
        "input_ids": torch.tensor([TEXT + TEXT]),
        "special_tokens_mask": torch.tensor([protected + [0] * 42]),
        "position_ids": torch.tensor([[*range(42)] * 2]),
    }
    for _ in range(10):
        labels = masked(collator(packed))[0]
        assert labels[:42].sum() == 10 and not labels[:21].any() and labels[42:].sum() == 20


def test_labels_of_minus_100_protect_where_they_are_to_count(tokenizer):
    labels = [-100, *[-100, 7] * 20, -100]
    example, protected = {"input_ids": TEXT, "labels": labels}, [int(label == -100) for label in labels]
    usual, own = (PolicyCollator(tokenizer, mlm_probability=0.4, own_labels=own) for own in (False, True))
    for collator in (usual, own):
        collator.set_epoch(3)
    found, batch = own([example]), {name: torch.tensor([value]) for name, value in example.items()}
    wanted = usual([{"input_ids": TEXT, "special_tokens_mask": protected}])
    assert all(torch.equal(found[name], wanted[name]) and torch.equal(own(batch)[name], found[name]) for name in found)
    assert masked(found)[0].sum() == 8 and not masked(found)[0][torch.tensor(protected) > 0].any()
    assert masked(usual([example]))[0].sum() == 16


@pytest.mark.parametrize("form", ["pt", "np"])
def test_labels_of_ones_own_are_handed_on_where_nothing_is_masked(tokenizer, form):
    labels = [-100, *[-100, 7] * 20, -100]
    rows = [{"input_ids": TEXT, "labels": labels}, {"input_ids": [2, 7, 3], "labels": [-100, 7, 3]}]
    collator = PolicyCollator(tokenizer, mlm=False, own_labels=True, return_tensors=form)
    wanted = [labels, [-100, 7, 3, *[-100] * 39]]
    sliced = {name: [row[name] for row in rows] for name in rows[0]}
    assert collator(rows)["labels"].tolist() == collator(sliced)["labels"].tolist() == wanted


def test_labels_of_ones_own_in_a_slice_of_unequal_rows(tokenizer):
    collator = PolicyCollator(tokenizer, own_labels=True)
    rows = [
        {"input_ids": TEXT, "labels": [-100] * 20 + TEXT[20:]},
        {"input_ids": [2, 7, 8, 3], "labels": [2, 7, -100, 3]},
    ]
    collator.set_epoch(0)
    one, other = collator(rows), collator({name: [row[name] for row in rows] for name in rows[0]})
    assert all(torch.equal(one[name], other[name]) for name in one) and masked(one).sum() == 4


def test_one_answer_has_one_mask_after_any_prompt_that_is_protected(tokenizer):
    collator, answer = PolicyCollator(tokenizer, own_labels=True, mlm_probability=0.3), TEXT[10:]
    collator.set_epoch(0)
    prompts = ([2, 20, 21], [2, 30, 31, 32, 33])
    rows = [{"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer} for prompt in prompts]
    one, other = (masked(collator([row]))[0, -len(answer) :] for row in rows)
    assert one.any() and torch.equal(one, other)


@pytest.mark.parametrize(
    ("example", "said"),
    [({"input_ids": TEXT}, "no labels"), ({"input_ids": TEXT, "labels": [1, 2]}, r"labels have shape \[2\]")],
)
def test_own_labels_that_do_not_fit_are_refused(tokenizer, example, said):
    with pytest.raises(ValueError, match=said):
        PolicyCollator(tokenizer, own_labels=True)([example])


@pytest.mark.parametrize("rate", [0.01, 0.15])
def test_every_text_with_a_word_has_one_masked(tokenizer, rate):
    collator = PolicyCollator(tokenizer, mlm_probability=rate)
    batch = collator([[2, *range(5, 5 + n), 3] for n in range(1, 30)])
    assert (masked(batch).sum(1) >= 1).all()


def small_model(tokenizer) -> BertForMaskedLM:
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **shape))


NOTHING = {
    "special tokens": [[2, 3], [2, 3]],
    "an empty text among them": [[2, 3], []],
    "one text": [[2, 3]],
    "packed": {"input_ids": torch.tensor([[2, 3, 2, 3]]), "position_ids": torch.tensor([[0, 1, 0, 1]])},
    "all protected": [{"input_ids": TEXT, "special_tokens_mask": [1] * 42}],
}


@pytest.mark.parametrize("form", ["pt", "np"])
@pytest.mark.parametrize("texts", NOTHING.values(), ids=NOTHING)
def test_nothing_to_mask_is_no_reason_to_lose_a_model(tokenizer, texts, form):
    """The mean over no label is NaN, and so is every weight after it. One visible token is predicted instead."""
    batch = PolicyCollator(tokenizer, return_tensors=form)(texts)
    batch = {name: torch.as_tensor(column) for name, column in batch.items()}
    assert masked(batch).sum() == 1
    assert torch.equal(batch["input_ids"][masked(batch)], batch["labels"][masked(batch)])
    model = small_model(tokenizer)
    assert torch.isfinite(model(**batch).loss)
    assert model(**batch | {"labels": torch.full_like(batch["labels"], -100)}).loss.isnan()


def test_texts_without_a_word_stay_as_they_are_beside_others(tokenizer):
    batch = PolicyCollator(tokenizer)([[2, 3], [], TEXT])
    assert masked(batch).sum(1).tolist() == [0, 0, 6] and batch["input_ids"][:2].tolist()[0][:2] == [2, 3]


def test_nothing_at_all_is_returned_as_nothing(tokenizer):
    assert PolicyCollator(tokenizer)([[], []])["labels"].shape == (2, 0)


@pytest.mark.parametrize("form", ["pt", "np"])
def test_without_mlm_labels_are_the_tokens(tokenizer, form):
    batch = PolicyCollator(tokenizer, mlm=False, return_tensors=form)([TEXT, [2, 7, 3]])
    assert batch["labels"][0].tolist() == batch["input_ids"][0].tolist() == TEXT
    assert batch["labels"][1].tolist() == [2, 7, 3, *[-100] * 39]
