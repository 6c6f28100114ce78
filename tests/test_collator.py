import pickle

import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForMaskedLM, Trainer, TrainingArguments

from policylearn import PolicyCollator
from policylearn.config import PlantedConfig
from policylearn.data.planted import domain_corpus, planted_tokenizer

WORDS = PlantedConfig(class_words=5, distractor_words=6, generic_words=30, documents=64, length=20)
TEXTS = domain_corpus(WORDS)


@pytest.fixture
def collator(saved_policy) -> PolicyCollator:
    return PolicyCollator.from_pretrained(saved_policy)


@pytest.fixture(scope="module")
def examples(tokenizer) -> list[dict]:
    """Texts of 1 to 20 words, tokenised."""
    encoded = tokenizer([" ".join(text.split()[: 1 + i % 20]) for i, text in enumerate(TEXTS)])
    return [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in encoded["input_ids"]]


def unmasked(batch: dict) -> torch.Tensor:
    """The texts as they were before masking."""
    return torch.where(batch["labels"] != -100, batch["labels"], batch["input_ids"])


def text_masks(batch: dict) -> dict[tuple[int, ...], list[bool]]:
    """Text (its real tokens) → which of them are to be predicted."""
    rows = zip(unmasked(batch), batch["labels"] != -100, batch["attention_mask"].bool(), strict=True)
    return {tuple(ids[real].tolist()): mask[real].tolist() for ids, mask, real in rows}


def test_a_batch_is_padded_masked_and_labelled(collator, examples, tokenizer):
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


def test_neighbours_order_and_padding_change_nothing_once_the_epoch_is_set(collator, examples, tokenizer):
    collator.set_epoch(3)
    together = text_masks(collator(examples))
    assert len(together) > 50
    for size in (1, 7, 64):
        batches = [collator(examples[::-1][i : i + size]) for i in range(0, len(examples), size)]
        assert {text: mask for batch in batches for text, mask in text_masks(batch).items()} == together
    left = PolicyCollator(planted_tokenizer(WORDS), policy=collator.policy, pad_to_multiple_of=32)
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


def epochs_of_a_loader(collator, examples, **settings) -> list[dict]:
    loader = DataLoader(examples, batch_size=8, collate_fn=collator, **settings)
    return [{t: m for batch in loader for t, m in text_masks(batch).items()} for _ in range(2)]


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_of_a_plain_loader_mask_anew_every_epoch(collator, examples, persistent):
    """A trap: forked anew, workers start from the same state, and epoch 2 repeats the masks of epoch 1."""
    first, second = epochs_of_a_loader(collator, examples, num_workers=2, persistent_workers=persistent)
    long = [text for text in first if len(text) > 8]
    assert first.keys() == second.keys() and sum(first[t] != second[t] for t in long) > 0.5 * len(long)


def test_with_the_epoch_set_workers_and_their_number_change_nothing(collator, examples):
    collator.set_epoch(5)
    alone, shuffled = epochs_of_a_loader(collator, examples, shuffle=True)
    assert alone == shuffled == epochs_of_a_loader(collator, examples, num_workers=2, shuffle=True)[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_in_somebody_elses_trainer(saved_policy, tokenizer, tmp_path, workers):
    """Their model, their data set with columns of its own, their default settings; only the collator is ours."""
    encoded = tokenizer(TEXTS)
    data = Dataset.from_dict({**encoded, "text": TEXTS, "special_tokens_mask": [[0]] * len(TEXTS)})
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **shape))
    seen: list[dict] = []

    def record(module, args, batch):
        seen.append({name: batch[name].clone() for name in ("input_ids", "attention_mask", "labels")})

    model.register_forward_pre_hook(record, with_kwargs=True)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=2,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        dataloader_num_workers=workers,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=PolicyCollator.from_pretrained(saved_policy),
    )
    assert torch.isfinite(torch.tensor(trainer.train().training_loss))
    assert any(not torch.equal(before[name], p) for name, p in model.named_parameters())

    assert len(seen) == 16
    texts = {tuple(ids) for ids in encoded["input_ids"]}
    epochs = [{t: m for batch in seen[i : i + 8] for t, m in text_masks(batch).items()} for i in (0, 8)]
    assert epochs[0].keys() == epochs[1].keys() == texts
    special = set(tokenizer.all_special_ids)
    for masks in epochs:
        assert all(2 <= sum(mask) <= 4 for mask in masks.values())
        rate = sum(map(sum, masks.values())) / sum(len(text) - 2 for text in texts)
        assert rate == pytest.approx(0.15, abs=0.01)
        assert not any(
            masked and token in special for t, m in masks.items() for token, masked in zip(t, m, strict=True)
        )
    assert sum(epochs[0][text] != epochs[1][text] for text in texts) > 0.8 * len(texts)
    hidden = torch.cat([(b["input_ids"] == tokenizer.mask_token_id)[b["labels"] != -100] for b in seen])
    assert hidden.float().mean() == pytest.approx(0.8, abs=0.08)


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
        ([1.0, 0.0, float("nan"), 0.0], r"example 1 of the batch has a score in column 'entity' that is NaN"),
        (None, r"example 1 of the batch has 0 scores in column 'entity' for 4 tokens"),
    ],
)
def test_a_score_column_that_does_not_fit_is_refused(make_policy, tokenizer, entity, message):
    collator = PolicyCollator(tokenizer, policy=make_policy("none", prior=("entity",)))
    other = {"input_ids": [2, 6, 7, 3]} | ({"entity": entity} if entity else {})
    with pytest.raises(ValueError, match=message):
        collator([{"input_ids": [2, 8, 9, 3], "entity": [0.0] * 4}, other])


@pytest.mark.parametrize("unit", ["token", "word", "span", "collocation"])
def test_a_row_of_nothing_but_padding_or_special_tokens_does_no_harm(make_policy, tokenizer, unit):
    collator = PolicyCollator(tokenizer, policy=make_policy(masking={"unit": unit}))
    ids = torch.tensor([[2, 20, 21, 22, 3], [0, 0, 0, 0, 0], [2, 3, 0, 0, 0]])
    real = torch.tensor([[1] * 5, [0] * 5, [1, 1, 0, 0, 0]]).bool()
    seen, labels = collator.torch_mask_tokens(ids)
    assert (labels[1:] == -100).all() and torch.equal(seen[1:], ids[1:]) and (labels[0] != -100).any()
