"""`EpochCallback` in a real Trainer: what counts are the masks that the model was given."""

import warnings
from itertools import pairwise

import pytest
import torch
from datasets import Dataset, concatenate_datasets
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments

from policylearn import PolicyCollator
from policylearn.config import MaskingConfig
from policylearn.policy.policy import uniform_policy
from policylearn.trainers import EpochCallback

STEPS = 4  # 32 texts in batches of 8
LOADING = [
    {"dataloader_num_workers": 0},
    {"dataloader_num_workers": 2},
    {"dataloader_num_workers": 2, "dataloader_persistent_workers": True},
]


@pytest.fixture
def trainer(masked_lm, trained_examples, tmp_path):
    """A Trainer of three epochs of four steps on a collator, which is told the epoch."""

    def make(collator, data=trained_examples, callbacks=None, **settings):
        arguments = {
            "output_dir": str(tmp_path),
            "num_train_epochs": 3,
            "per_device_train_batch_size": 8,
            "learning_rate": 1e-2,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
        }
        return Trainer(
            masked_lm,
            TrainingArguments(**{**arguments, **settings}),
            train_dataset=data,
            data_collator=collator,
            callbacks=[EpochCallback(collator)] if callbacks is None else callbacks,
        )

    return make


@pytest.fixture
def collator(saved_policy):
    return PolicyCollator.from_pretrained(saved_policy)


@pytest.fixture
def scheduled(tokenizer):
    """Uniform masks under a rate that falls from 40 % to 10 % on a line."""
    rate = {"kind": "linear", "rates": [0.4, 0.1]}
    return PolicyCollator(tokenizer, policy=uniform_policy(tokenizer, MaskingConfig(rate=rate)))


@pytest.fixture
def exploring(tokenizer):
    """Uniform masks of 20 % that take turns: within five epochs every token has had its own."""
    masking = MaskingConfig(rate=0.2, design="explore", draws=5)
    return PolicyCollator(tokenizer, policy=uniform_policy(tokenizer, masking))


def by_epoch(seen, steps=STEPS):
    return [seen[i : i + steps] for i in range(0, len(seen), steps)]


def part_of(masks, whole):
    return all(whole[text] == mask for text, mask in masks.items())


def same(batches, others):
    return len(batches) == len(others) and all(
        torch.equal(one[name], other[name]) for one, other in zip(batches, others, strict=True) for name in one
    )


@pytest.mark.parametrize("loading", LOADING)
def test_masks_are_those_of_the_epoch(trainer, masked_lm, seen, collator, masks_of, masks_of_epoch, loading):
    before = {name: p.detach().clone() for name, p in masked_lm.named_parameters()}
    assert torch.isfinite(torch.tensor(trainer(collator, **loading).train().training_loss))
    assert any(not torch.equal(before[name], p) for name, p in masked_lm.named_parameters())
    epochs = [masks_of(batches) for batches in by_epoch(seen)]
    assert epochs == [masks_of_epoch(epoch) for epoch in range(3)]
    assert all(sum(one[text] != other[text] for text in one) > 24 for one, other in pairwise(epochs))


@pytest.mark.parametrize("loading", LOADING[:2])
def test_without_the_callback_masks_differ_between_epochs_all_the_same(
    trainer, seen, collator, trained_texts, tokenizer, masks_of, loading
):
    """Their model, their data set with columns of its own, their default settings; only the collator is ours."""
    encoded = tokenizer(trained_texts)
    data = Dataset.from_dict({**encoded, "text": trained_texts, "special_tokens_mask": [[0]] * len(trained_texts)})
    trainer(collator, data, callbacks=[], num_train_epochs=2, **loading).train()
    first, second = (masks_of(batches) for batches in by_epoch(seen))
    assert first.keys() == second.keys() == {tuple(ids) for ids in encoded["input_ids"]}
    assert sum(first[text] != second[text] for text in first) > 24
    special = set(tokenizer.all_special_ids)
    for masks in (first, second):
        assert all(2 <= sum(mask) <= 4 for mask in masks.values())
        rate = sum(map(sum, masks.values())) / sum(len(text) - 2 for text in masks)
        assert rate == pytest.approx(0.15, abs=0.01)
        assert not any(m and token in special for t, mask in masks.items() for token, m in zip(t, mask, strict=True))
    hidden = torch.cat([(b["input_ids"] == tokenizer.mask_token_id)[b["labels"] != -100] for b in seen])
    assert hidden.float().mean() == pytest.approx(0.8, abs=0.08)


@pytest.mark.parametrize(("step", "workers"), [(4, 0), (6, 2)])
def test_a_resumed_run_sees_what_an_undisturbed_one_would(trainer, seen, saved_policy, tmp_path, step, workers):
    """From a checkpoint at the end of an epoch, and from one in the middle."""
    settings = {"save_strategy": "steps", "save_steps": 2, "dataloader_num_workers": workers}
    trainer(PolicyCollator.from_pretrained(saved_policy), **settings).train()
    undisturbed = seen[step:]
    seen.clear()
    again = trainer(PolicyCollator.from_pretrained(saved_policy), **settings)
    again.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
    assert same(seen, undisturbed)


def test_accumulated_steps_resume_in_the_right_epoch(trainer, seen, collator, tmp_path, masks_of, masks_of_epoch):
    """Four batches an epoch, three to a step: two steps, the second of one batch."""
    settings = {"save_strategy": "steps", "save_steps": 1, "gradient_accumulation_steps": 3}
    trainer(collator, **settings).train()
    seen.clear()
    trainer(collator, **settings).train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert len(seen) == 1 + 4
    assert part_of(masks_of(seen[:1]), masks_of_epoch(1)) and masks_of(seen[1:]) == masks_of_epoch(2)


class StopEpochs(TrainerCallback):
    """Every epoch ends after two of its four steps."""

    def on_step_end(self, args, state, control, **kwargs):
        control.should_epoch_stop = state.global_step % 2 == 0


def test_epochs_that_end_early_are_counted(trainer, seen, collator, masks_of, masks_of_epoch):
    trainer(collator, callbacks=[EpochCallback(collator), StopEpochs()]).train()
    assert len(seen) == 3 * 2
    for epoch, batches in enumerate(by_epoch(seen, 2)):
        assert part_of(masks_of(batches), masks_of_epoch(epoch))


class Stream(IterableDataset):
    """Examples without a length."""

    def __init__(self, examples):
        self.examples = examples

    def __iter__(self):
        return iter(self.examples)


def test_epochs_of_a_stream_are_counted(trainer, seen, collator, trained_examples, masks_of, masks_of_epoch, tmp_path):
    settings = {"max_steps": 10, "save_strategy": "steps", "save_steps": 6}
    trainer(collator, Stream(trained_examples), **settings).train()
    assert [masks_of(batches) for batches in by_epoch(seen[:8])] == [masks_of_epoch(0), masks_of_epoch(1)]
    assert part_of(masks_of(seen[8:]), masks_of_epoch(2))


def all_masks_of(batches):
    """Text → its masks, one for every time it came."""
    found = {}
    for batch in batches:
        texts = torch.where(batch["labels"] != -100, batch["labels"], batch["input_ids"])
        for ids, labels in zip(texts.tolist(), batch["labels"], strict=True):
            found.setdefault(tuple(ids), []).append(tuple((labels != -100).tolist()))
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_that_repeats_itself_has_new_masks_every_time(
    trainer, seen, collator, trained_examples, masks_of_epoch, workers
):
    """It never ends, so the epoch is 0 for ever."""
    stream = Dataset.from_list(trained_examples).to_iterable_dataset(num_shards=2).repeat(None)
    trainer(collator, stream, max_steps=20, dataloader_num_workers=workers).train()
    masks = all_masks_of(seen)
    assert len(masks) == 32 and all(len(found) == 5 for found in masks.values())
    assert sum(len(set(found)) for found in masks.values()) > 0.85 * 160  # two may agree by chance
    assert {text: list(found[0]) for text, found in masks.items()} == masks_of_epoch(0)
    once = [batch["labels"] for batch in seen]
    seen.clear()
    trainer(collator, stream, max_steps=20, dataloader_num_workers=workers).train()  # the same collator
    assert all(torch.equal(one, batch["labels"]) for one, batch in zip(once, seen, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_over_a_stream_that_repeats_itself_is_resumed(
    trainer, seen, saved_policy, trained_examples, tmp_path, workers
):
    stream = Dataset.from_list(trained_examples).to_iterable_dataset(num_shards=2).repeat(None)
    settings = {"max_steps": 14, "save_strategy": "steps", "save_steps": 7, "dataloader_num_workers": workers}
    trainer(PolicyCollator.from_pretrained(saved_policy), stream, **settings).train()
    undisturbed = seen[7:]
    seen.clear()
    again = trainer(PolicyCollator.from_pretrained(saved_policy), stream, **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-7"))
    assert same(seen, undisturbed)


@pytest.mark.parametrize(("step", "told"), [(2, 0), (6, 1)])
def test_a_stream_that_trainer_begins_anew_is_told(trainer, seen, collator, trained_examples, tmp_path, step, told):
    """Four steps long and without a length: resumed within its first epoch it is gone through, later it cannot be."""
    stream = Dataset.from_list(trained_examples).to_iterable_dataset()
    settings = {"max_steps": 8, "save_strategy": "steps", "save_steps": 2}
    trainer(collator, stream, **settings).train()
    undisturbed = seen[step:]
    seen.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(collator, stream, **settings).train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
    assert sum("begins it anew" in str(warning.message) for warning in caught) == told
    assert same(seen[: len(undisturbed)], undisturbed) == (not told)


def test_copies_of_one_data_set_have_masks_of_their_own(trainer, seen, collator, trained_examples):
    data = concatenate_datasets([Dataset.from_list(trained_examples)] * 5)
    with pytest.warns(UserWarning, match="5 copies of one"):
        trainer(collator, data, num_train_epochs=1).train()
    masks = all_masks_of(seen)
    assert all(len(found) == 5 for found in masks.values())
    assert sum(len(set(found)) for found in masks.values()) > 0.85 * 160  # two may agree by chance


@pytest.mark.parametrize(("workers", "ahead"), [(0, 1), (2, 4)])
def test_the_rate_follows_training(trainer, seen, scheduled, workers, ahead):
    """A batch is put together up to so many steps before the model sees it: 2 workers prefetch two batches each."""
    trainer(scheduled, dataloader_num_workers=workers, per_device_train_batch_size=2).train()
    masked = [(batch["labels"] != -100).float().sum(1).mean().item() / 20 for batch in seen]
    total = len(masked)
    assert masked[0] == pytest.approx(0.4) and masked[-1] < 0.25
    for step, share in enumerate(masked):
        built = {max(step - behind, 0) for behind in range(ahead + 2)}
        assert min(abs(share - (0.4 - 0.3 * then / total)) for then in built) < 0.026


def test_the_rate_goes_on_where_a_resumed_run_does(trainer, seen, scheduled, tmp_path):
    trainer(scheduled, save_strategy="steps", save_steps=6).train()
    scheduled.set_progress(0.0)
    seen.clear()
    trainer(scheduled).train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert (seen[0]["labels"] != -100).sum(1).tolist() == [5] * 8  # half way: 25 % of 20 tokens


def test_data_without_a_whole_batch_are_trainers_concern(trainer, collator, seen, trained_examples):
    """It stops at step 0, and says so."""
    done = trainer(collator, trained_examples[:3], dataloader_drop_last=True, max_steps=3).train()
    assert done.global_step == 0 and not seen


def test_exploring_masks_take_turns(trainer, seen, exploring, masks_of):
    trainer(exploring, num_train_epochs=10).train()
    for epochs in (seen[: 5 * STEPS], seen[5 * STEPS :]):
        assert turns(masks_of, epochs) == {(0, *[1] * 20, 0)}
    masks = [masks_of(batches) for batches in by_epoch(seen)]
    assert masks[0] != masks[5]


def test_without_the_callback_they_would_not(trainer, seen, exploring, masks_of):
    trainer(exploring, callbacks=[], num_train_epochs=5).train()
    assert turns(masks_of, seen) != {(0, *[1] * 20, 0)}


def turns(masks_of, seen):
    """How often each token of a text was masked, over all texts."""
    epochs = [masks_of(batches) for batches in by_epoch(seen)]
    return {tuple(map(sum, zip(*(masks[text] for masks in epochs), strict=True))) for text in epochs[0]}


def test_more_steps_than_were_announced_are_the_end_of_training(tokenizer):
    collator = PolicyCollator(tokenizer)
    EpochCallback(collator).on_step_end(None, TrainerState(global_step=11, max_steps=10), None)
    assert collator._clock.progress == 1.0
