"""Labelled texts twice: as they are, and masked as `PolicyCollator` masks them."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

from policylearn import JointCollator, PolicyCollator

ROWS = [{"input_ids": [2, *range(10, 10 + n), 3], "label": n % 2} for n in (5, 9, 7)]


def at_epoch(collator, epoch=3):
    collator.set_epoch(epoch)
    return collator


@pytest.mark.parametrize(("made", "asked"), [("pt", "np"), ("np", "pt")])
def test_a_form_may_be_asked_for_batch_by_batch(tokenizer, made, asked):
    found = at_epoch(JointCollator(tokenizer, return_tensors=made))(ROWS, return_tensors=asked)
    wanted = at_epoch(JointCollator(tokenizer, return_tensors=asked))(ROWS)
    assert {name: type(x) for name, x in found.items()} == {name: type(x) for name, x in wanted.items()}
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("form", ["pt", "np"])
@pytest.mark.parametrize("label", ["label", "labels"])
def test_the_masked_half_is_what_the_policy_collator_gives_and_the_other_the_text(tokenizer, form, label):
    rows = [{"input_ids": row["input_ids"], label: row["label"]} for row in ROWS]
    settings = {"mlm_probability": 0.4, "return_tensors": form, "pad_to_multiple_of": 8}
    both = at_epoch(JointCollator(tokenizer, label=label, **settings))(rows)
    alone = at_epoch(PolicyCollator(tokenizer, **settings))([{"input_ids": row["input_ids"]} for row in ROWS])
    assert np.array_equal(both["masked_input_ids"], alone["input_ids"])
    assert np.array_equal(both["masked_labels"], alone["labels"])
    assert not np.array_equal(both["input_ids"], alone["input_ids"])
    for row, ids, real in zip(ROWS, both["input_ids"], both["attention_mask"], strict=True):
        assert ids[np.asarray(real) > 0].tolist() == row["input_ids"]
    assert both["labels"].tolist() == [row["label"] for row in ROWS]


@pytest.mark.parametrize("form", ["pt", "np"])
@pytest.mark.parametrize("label", [lambda i: i, lambda i: [i, i]])
def test_every_copy_of_a_text_has_its_label(tokenizer, make_policy, form, label):
    policy = make_policy(masking={"copies": 2, "design": "explore", "draws": 4})
    rows = [{"input_ids": row["input_ids"], "label": label(i)} for i, row in enumerate(ROWS)]
    collator = JointCollator(tokenizer, policy=policy, return_tensors=form)
    for given in (rows, {name: [row[name] for row in rows] for name in rows[0]}):  # and as a slice of a data set
        batch = collator(given)
        assert len(batch["input_ids"]) == 6
        assert batch["labels"].tolist() == [label(i) for i in (0, 0, 1, 1, 2, 2)]


def test_two_heads_on_one_encoder_learn_from_a_batch(tokenizer):
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(tokenizer), num_labels=2, **small)
    classifier, mlm = BertForSequenceClassification(config).eval(), BertForMaskedLM(config).eval()
    mlm.bert.embeddings, mlm.bert.encoder = classifier.bert.embeddings, classifier.bert.encoder
    batch = at_epoch(JointCollator(tokenizer, mlm_probability=0.4))(ROWS)
    optimizer = torch.optim.AdamW({*classifier.parameters(), *mlm.parameters()}, lr=3e-3)
    losses = []
    for _ in range(60):
        task = classifier(batch["input_ids"], batch["attention_mask"], labels=batch["labels"]).loss
        masked = mlm(batch["masked_input_ids"], batch["attention_mask"], labels=batch["masked_labels"]).loss
        losses.append((task.item(), masked.item()))
        optimizer.zero_grad()
        (task + masked).backward()
        optimizer.step()
    assert all(last < first / 2 for first, last in zip(losses[0], losses[-1], strict=True))


@pytest.mark.parametrize("form", ["pt", "np"])
@pytest.mark.parametrize("labels", [[None, 1], ["a", "b"], [[0, 1], [0]]])
def test_labels_that_are_no_numbers_are_named(tokenizer, form, labels):
    rows = [{"input_ids": [2, 10, 3], "label": label} for label in labels]
    with pytest.raises(ValueError, match=r"column 'label' holds .* which is no array of numbers"):
        JointCollator(tokenizer, return_tensors=form)(rows)


@pytest.mark.parametrize("rows", [[{"input_ids": [2, 10, 3]}], [[2, 10, 3]], {"input_ids": torch.tensor([[2, 10, 3]])}])
def test_a_missing_label_is_named(tokenizer, rows):
    with pytest.raises(ValueError, match="no column 'label'"):
        JointCollator(tokenizer)(rows)
