"""`LightningEpochCallback` in a real Lightning Trainer, under both names that Lightning is imported by."""

from importlib import import_module

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from policylearn import PolicyCollator
from policylearn.config import MaskingConfig
from policylearn.policy.policy import uniform_policy

pytest.importorskip("lightning", reason="make test-peers installs it")
from policylearn.trainers import LightningEpochCallback

STEPS = 4  # 32 texts in batches of 8
LOADING = [{}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}]


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def pl(request):
    return import_module(request.param)


@pytest.fixture
def fit(pl, masked_lm, trained_examples, tmp_path):
    """Train `masked_lm` for three epochs of four steps on a collator, which is told the epoch."""

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = masked_lm

        def training_step(self, batch, step):
            return self.network(**batch).loss

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=1e-2)

    def run(collator, data=trained_examples, epochs=3, ckpt_path=None, callbacks=None, loading=None, **settings):
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            default_root_dir=tmp_path,
            logger=False,
            enable_checkpointing=bool(callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[LightningEpochCallback(collator), *(callbacks or [])],
            **settings,
        )
        loader = DataLoader(data, **{"batch_size": 8, "collate_fn": collator, **(loading or {})})
        trainer.fit(Module(), loader, ckpt_path=ckpt_path)

    return run


@pytest.fixture
def collator(saved_policy):
    return PolicyCollator.from_pretrained(saved_policy)


def by_epoch(seen):
    return [seen[i : i + STEPS] for i in range(0, len(seen), STEPS)]


@pytest.mark.parametrize("loading", LOADING)
def test_masks_are_those_of_the_epoch(fit, seen, collator, masks_of, masks_of_epoch, loading):
    fit(collator, loading={"shuffle": True, **loading})
    assert [masks_of(batches) for batches in by_epoch(seen)] == [masks_of_epoch(epoch) for epoch in range(3)]


class Stream(IterableDataset):
    """Examples without a length, of which Lightning takes the first before it announces the epoch."""

    def __init__(self, examples):
        self.examples = examples

    def __iter__(self):
        return iter(self.examples)


def test_the_first_batches_of_a_stream_too(fit, seen, collator, trained_examples, masks_of, masks_of_epoch):
    fit(collator, Stream(trained_examples), epochs=2)
    assert [masks_of(batches) for batches in by_epoch(seen)] == [masks_of_epoch(0), masks_of_epoch(1)]


class Endless(IterableDataset):
    """Examples again and again, read by one worker."""

    def __init__(self, examples):
        self.examples = examples

    def __iter__(self):
        while True:
            yield from self.examples


@pytest.mark.parametrize("loading", [{}, {"num_workers": 1}])
def test_a_stream_that_repeats_itself_has_new_masks_every_time(fit, seen, collator, trained_examples, loading):
    fit(collator, Endless(trained_examples), epochs=-1, max_steps=20, loading=loading)
    masks = {}
    for batch in seen:
        texts = torch.where(batch["labels"] != -100, batch["labels"], batch["input_ids"])
        for ids, labels in zip(texts.tolist(), batch["labels"], strict=True):
            masks.setdefault(tuple(ids), []).append(tuple((labels != -100).tolist()))
    assert len(masks) == 32 and all(len(found) == 5 for found in masks.values())
    assert sum(len(set(found)) for found in masks.values()) > 0.85 * 160  # two may agree by chance


@pytest.mark.parametrize("loading", LOADING[:2])
def test_a_run_resumed_after_an_epoch(pl, fit, seen, saved_policy, masks_of, masks_of_epoch, tmp_path, loading):
    saving = pl.callbacks.ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    fit(PolicyCollator.from_pretrained(saved_policy), callbacks=[saving], loading=loading)
    seen.clear()
    fit(PolicyCollator.from_pretrained(saved_policy), ckpt_path=tmp_path / "epoch=0.ckpt", loading=loading)
    assert [masks_of(batches) for batches in by_epoch(seen)] == [masks_of_epoch(1), masks_of_epoch(2)]


def test_a_checkpoint_that_does_not_know_the_callback(pl, fit, seen, collator, masks_of, masks_of_epoch, tmp_path):
    fit(collator, callbacks=[pl.callbacks.ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)])
    path = tmp_path / "epoch=0.ckpt"
    checkpoint = torch.load(path, weights_only=False)
    kept = {name: state for name, state in checkpoint["callbacks"].items() if "EpochCallback" not in name}
    assert len(kept) < len(checkpoint["callbacks"])
    torch.save(checkpoint | {"callbacks": kept}, path)
    seen.clear()
    fit(collator, ckpt_path=path)
    assert [masks_of(batches) for batches in by_epoch(seen)] == [masks_of_epoch(1), masks_of_epoch(2)]


@pytest.mark.parametrize("loading", LOADING[:2])
@pytest.mark.parametrize("step", [2, 4, 6])
def test_a_run_resumed_after_a_step(pl, fit, seen, saved_policy, masks_of, masks_of_epoch, tmp_path, loading, step):
    """Lightning takes up the count of batches, not the data: it begins the epoch's data anew."""
    saving = pl.callbacks.ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
    fit(PolicyCollator.from_pretrained(saved_policy), callbacks=[saving], loading=loading)
    seen.clear()
    fit(PolicyCollator.from_pretrained(saved_policy), ckpt_path=tmp_path / f"step={step}.ckpt", loading=loading)
    assert len(seen) == 12 - step
    first, rest = seen[: -step % 4], seen[-step % 4 :]
    whole = masks_of_epoch(step // 4)
    assert all(whole[text] == mask for text, mask in masks_of(first).items())
    later = [masks_of(batches) for batches in by_epoch(rest)]
    assert later == [masks_of_epoch(epoch) for epoch in range(3 - len(later), 3)]


def test_the_rate_follows_training(fit, seen, tokenizer):
    policy = uniform_policy(tokenizer, MaskingConfig(rate={"kind": "linear", "rates": [0.4, 0.1]}))
    fit(PolicyCollator(tokenizer, policy=policy))
    masked = [(batch["labels"] != -100).float().sum(1).mean().item() / 20 for batch in seen]
    assert masked == pytest.approx([0.4 - 0.3 * step / 12 for step in range(12)], abs=0.026)


def test_exploring_masks_take_turns(fit, seen, tokenizer, masks_of):
    policy = uniform_policy(tokenizer, MaskingConfig(rate=0.2, design="explore", draws=5))
    fit(PolicyCollator(tokenizer, policy=policy), epochs=5)
    epochs = [masks_of(batches) for batches in by_epoch(seen)]
    turns = {tuple(map(sum, zip(*(masks[text] for masks in epochs), strict=True))) for text in epochs[0]}
    assert turns == {(0, *[1] * 20, 0)}
