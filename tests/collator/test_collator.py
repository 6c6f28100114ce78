import pickle

import pytest
import torch

from policylearn import PolicyCollator
from policylearn.config import PlantedConfig
from policylearn.data.planted import planted_tokenizer


def test_a_batch_is_padded_masked_and_labelled(collator, examples, tokenizer, unmasked):
    batch = collator(examples)
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    real = batch["attention_mask"].bool()
    original = unmasked(batch)
    for i, example in enumerate(examples):
        assert original[i][real[i]].tolist() == example["input_ids"]
    assert (batch["input_ids"][~real] == tokenizer.pad_token_id).all() and (batch["labels"][~real] == -100).all()
    special = torch.isin(original, torch.tensor(tokenizer.all_special_ids))
    assert (batch["labels"][special] == -100).all() and not (batch["labels"] == -1).any()
    hidden = batch["input_ids"] == tokenizer.mask_token_id
    assert (batch["labels"][hidden] != -100).all() and hidden.sum() > 0.6 * (batch["labels"] != -100).sum()


@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_every_row_has_its_share_masked(make_artefact, examples, rate):
    artefact = make_artefact(rate=rate)
    batch = PolicyCollator(artefact.tokenizer, policy=artefact.policy)(examples)
    masked = (batch["labels"] != -100).sum(1)
    wanted = (rate * (batch["attention_mask"].sum(1) - 2)).clamp(min=1)
    assert ((masked - wanted).abs() < 1).all() and masked.sum() / wanted.sum() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("multiple", "width"), [(None, 22), (8, 24), (64, 64)])
def test_padding_to_a_multiple(saved_policy, examples, multiple, width):
    collator = PolicyCollator.from_pretrained(saved_policy, pad_to_multiple_of=multiple)
    assert {tensor.shape for tensor in collator(examples).values()} == {(len(examples), width)}


def test_masks_follow_the_epoch_and_nothing_else(collator, saved_policy, examples):
    seen = {}
    for epoch in (0, 1, 0, 2, 1):
        collator.set_epoch(epoch)
        batch = collator(examples)
        again = seen.setdefault(epoch, batch)
        assert all(torch.equal(batch[name], again[name]) for name in batch)
    labels = [batch["labels"] for batch in seen.values()]
    assert not torch.equal(labels[0], labels[1]) and not torch.equal(labels[1], labels[2])
    other = PolicyCollator.from_pretrained(saved_policy, seed=1)
    other.set_epoch(0)
    assert not torch.equal(other(examples)["labels"], labels[0])


def test_without_an_epoch_every_batch_is_masked_anew(collator, examples):
    assert len({str(collator(examples)["labels"].tolist()) for _ in range(5)}) == 5


def test_neighbours_order_and_padding_change_nothing_once_the_epoch_is_set(collator, examples, tokenizer, text_masks):
    collator.set_epoch(3)
    together = text_masks(collator(examples))
    assert len(together) > 50
    for size in (1, 7, 64):
        batches = [collator(examples[::-1][i : i + size]) for i in range(0, len(examples), size)]
        assert {text: mask for batch in batches for text, mask in text_masks(batch).items()} == together
    left = PolicyCollator(
        planted_tokenizer(PlantedConfig(class_words=5, distractor_words=6, generic_words=30)),
        policy=collator.policy,
        pad_to_multiple_of=32,
    )
    left.tokenizer.padding_side = "left"
    left.set_epoch(3)
    batch = left(examples)
    assert not batch["attention_mask"][:, 0].any() and text_masks(batch) == together


def test_it_travels_by_pickle(collator, examples):
    collator.set_epoch(1)
    copy = pickle.loads(pickle.dumps(collator))
    one, other = collator(examples), copy(examples)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_examples_may_hold_tensors_little_or_more_than_is_needed(collator, examples):
    collator.set_epoch(0)
    expected = collator(examples)
    bare = [{"input_ids": torch.tensor(e["input_ids"])} for e in examples]
    rich = [
        {**e, "labels": e["input_ids"], "special_tokens_mask": [0] * len(e["input_ids"]), "index": i, "weight": 0.5}
        for i, e in enumerate(examples)
    ]
    typed = [{**e, "token_type_ids": [0] * len(e["input_ids"])} for e in examples]
    for other in (bare, rich, typed):
        batch = collator(other)
        assert all(torch.equal(batch[name], expected[name]) for name in expected)
    assert collator(rich)["index"].tolist() == list(range(64)) and "special_tokens_mask" not in collator(rich)
    assert collator(typed)["token_type_ids"].shape == expected["input_ids"].shape


def test_a_tokenizer_that_makes_no_attention_mask(collator, examples):
    collator.tokenizer.model_input_names = ["input_ids"]
    assert collator([{"input_ids": e["input_ids"]} for e in examples])["attention_mask"].sum(1).min() == 3


def test_another_tokenizer_is_refused_and_an_equal_one_taken(saved_policy, tokenizer):
    assert PolicyCollator.from_pretrained(saved_policy, tokenizer).tokenizer is tokenizer
    with pytest.raises(ValueError, match="does not match the policy"):
        PolicyCollator.from_pretrained(saved_policy, planted_tokenizer(PlantedConfig()))


def test_a_rate_with_a_schedule_follows_the_progress_it_is_told(make_policy, tokenizer):
    policy = make_policy(masking={"rate": {"kind": "linear", "rates": [0.4, 0.1]}})
    collator = PolicyCollator(tokenizer, policy=policy)
    examples = [{"input_ids": [2, *range(5, 45), 3]}] * 4

    def masked(progress):
        collator.set_progress(progress)
        return (collator(examples)["labels"] != -100).sum(1).tolist()

    assert [masked(t) for t in (0.0, 0.5, 1.0)] == [[16] * 4, [10] * 4, [4] * 4]


def test_scores_of_an_examples_own_tokens_replace_the_scorers_table(make_policy, tokenizer):
    policy = make_policy("none", prior=("entity",), rate=0.2)
    collator = PolicyCollator(tokenizer, policy=policy)
    entity = [0.0, *([0.0] * 8 + [50.0] * 2) * 2, 0.0]
    examples = [
        {"input_ids": [2, *range(5, 25), 3], "entity": entity},
        {"input_ids": [2, 6, 7, 3], "entity": [0.0] * 4},
    ]
    batch = collator(examples)
    assert batch.keys() == {"input_ids", "attention_mask", "labels"}
    assert (batch["labels"][0] != -100).nonzero().flatten().tolist() == [9, 10, 19, 20]
    # Without the column the table speaks, and masks other tokens.
    without = collator([{"input_ids": example["input_ids"]} for example in examples])
    assert (without["labels"][0] != -100).nonzero().flatten().tolist() != [9, 10, 19, 20]


@pytest.mark.parametrize(
    ("entity", "message"),
    [
        ([1.0, 0.0], r"example 1 of the batch has 2 scores in column 'entity' for 4 tokens"),
        ([1.0, 0.0, float("-inf"), 0.0], r"example 1 of the batch has a score in column 'entity' that is infinite"),
        (None, r"example 1 of the batch has 0 scores in column 'entity' for 4 tokens"),
    ],
)
def test_a_score_column_that_does_not_fit_is_refused(make_policy, tokenizer, entity, message):
    collator = PolicyCollator(tokenizer, policy=make_policy("none", prior=("entity",)))
    other = {"input_ids": [2, 6, 7, 3]} | ({"entity": entity} if entity else {})
    with pytest.raises(ValueError, match=message):
        collator([{"input_ids": [2, 8, 9, 3], "entity": [0.0] * 4}, other])


@pytest.mark.parametrize("made", [list, torch.tensor])
@pytest.mark.parametrize("scores", [[0.0] * 2, [[0.0] * 3] * 2, [[0.0] * 4, [0.0, torch.inf, 0.0, 0.0]]])
def test_scores_of_a_batch_that_is_put_together_are_looked_at_too(make_policy, tokenizer, scores, made):
    """One number per row would have been spread over its tokens."""
    collator = PolicyCollator(tokenizer, policy=make_policy("none", prior=("entity",)))
    with pytest.raises(ValueError, match=r"batch has (\d scores|a score) in column 'entity'"):
        collator({"input_ids": made([[2, 8, 9, 3], [2, 6, 7, 3]]), "entity": made(scores)})


def test_where_no_score_of_its_own_is_known_the_table_speaks(make_policy, tokenizer):
    """As of a text whose column is null, in `policylearn pretrain` for one; packed beside one that has scores too."""
    collator = PolicyCollator(tokenizer, policy=make_policy("none", prior=("entity",), rate=0.2))
    collator.set_epoch(0)
    one, other = [2, *range(5, 25), 3], [2, *range(25, 45), 3]
    high = [0.0, *[0.0] * 16, *[50.0] * 4, 0.0]
    unknown = [0.0, *[torch.nan] * 20, 0.0]
    row = {"input_ids": one + other, "seq_idx": [0] * 22 + [1] * 22, "entity": high + unknown}
    labels = collator([row])["labels"][0]
    assert (labels[:22] != -100).nonzero().flatten().tolist() == [17, 18, 19, 20]
    assert torch.equal(labels[22:], collator([{"input_ids": other}])["labels"][0])


@pytest.mark.parametrize("unit", ["token", "word", "span", "collocation"])
def test_a_row_of_nothing_but_padding_or_special_tokens_does_no_harm(make_policy, tokenizer, unit):
    collator = PolicyCollator(tokenizer, policy=make_policy(masking={"unit": unit}))
    ids = torch.tensor([[2, 20, 21, 22, 3], [0, 0, 0, 0, 0], [2, 3, 0, 0, 0]])
    seen, labels = collator.torch_mask_tokens(ids)
    assert (labels[1:] == -100).all() and torch.equal(seen[1:], ids[1:]) and (labels[0] != -100).any()
