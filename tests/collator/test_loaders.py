import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForMaskedLM, Trainer, TrainingArguments

from policylearn import PolicyCollator


def epochs_of_a_loader(collator, examples, text_masks, **settings) -> list[dict]:
    loader = DataLoader(examples, batch_size=8, collate_fn=collator, **settings)
    return [{t: m for batch in loader for t, m in text_masks(batch).items()} for _ in range(2)]


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_of_a_plain_loader_mask_anew_every_epoch(collator, examples, persistent, text_masks):
    """A trap: forked anew, workers start from the same state, and epoch 2 repeats the masks of epoch 1."""
    first, second = epochs_of_a_loader(collator, examples, text_masks, num_workers=2, persistent_workers=persistent)
    long = [text for text in first if len(text) > 8]
    assert first.keys() == second.keys() and sum(first[t] != second[t] for t in long) > 0.5 * len(long)


def test_with_the_epoch_set_workers_and_their_number_change_nothing(collator, examples, text_masks):
    collator.set_epoch(5)
    alone, shuffled = epochs_of_a_loader(collator, examples, text_masks, shuffle=True)
    assert alone == shuffled == epochs_of_a_loader(collator, examples, text_masks, num_workers=2, shuffle=True)[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_in_somebody_elses_trainer(saved_policy, tokenizer, tmp_path, workers, text_masks, texts):
    """Their model, their data set with columns of its own, their default settings; only the collator is ours."""
    encoded = tokenizer(texts)
    data = Dataset.from_dict({**encoded, "text": texts, "special_tokens_mask": [[0]] * len(texts)})
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


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_that_live_on_hear_of_a_new_epoch(collator, examples, text_masks, start):
    loader = DataLoader(
        examples,
        batch_size=16,
        collate_fn=collator,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context=start,
    )

    def masks(epoch, batches):
        collator.set_epoch(epoch)
        return {text: mask for batch in batches for text, mask in text_masks(batch).items()}

    for epoch in (4, 5, 4):
        assert masks(epoch, loader) == masks(epoch, [collator(examples)])
    assert masks(4, loader) != masks(5, loader)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_that_live_on_hear_of_progress(make_policy, tokenizer, start):
    policy = make_policy(masking={"rate": {"kind": "linear", "rates": [0.4, 0.1]}})
    collator, text = PolicyCollator(tokenizer, policy=policy), {"input_ids": [2, *range(5, 45), 3]}
    settings = {"num_workers": 1, "persistent_workers": True, "multiprocessing_context": start}
    loader = DataLoader([text] * 4, batch_size=4, collate_fn=collator, **settings)
    masked = []
    for progress in (0.0, 0.5, 1.0):
        collator.set_progress(progress)
        masked += [int((batch["labels"] != -100).sum()) for batch in loader]
    assert masked == [64, 40, 16]
