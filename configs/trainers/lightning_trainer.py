"""Train a masked language model further with PyTorch Lightning, under the masks of a policy."""

import argparse
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from torch.optim import AdamW
from torch.utils.data import DataLoader
from transformers import AutoModelForMaskedLM, AutoTokenizer

from policylearn import PolicyCollator
from policylearn.trainers import LightningEpochCallback


class Pretraining(LightningModule):
    def __init__(self, model: str) -> None:
        super().__init__()
        self.network = AutoModelForMaskedLM.from_pretrained(model).train()

    def training_step(self, batch, step):
        return self.network(**batch).loss

    def configure_optimizers(self):
        return AdamW(self.parameters(), lr=5e-5)


def train(model: str, policy: str, texts: str, out: str) -> None:
    tokenizer, module = AutoTokenizer.from_pretrained(model), Pretraining(model)
    lines = Path(texts).read_text(encoding="utf-8").strip().split("\n")
    collator = PolicyCollator.from_pretrained(policy, tokenizer)
    loader = DataLoader(tokenizer(lines, truncation=True)["input_ids"], 8, shuffle=True, collate_fn=collator)
    trainer = Trainer(max_epochs=3, default_root_dir=out, callbacks=[LightningEpochCallback(collator)])
    trainer.fit(module, loader)
    module.network.save_pretrained(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--model", "--policy", "--texts", "--out"):
        parser.add_argument(name, required=True)
    train(**vars(parser.parse_args()))
