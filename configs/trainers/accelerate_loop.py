"""Train a masked language model further in a loop of one's own with Accelerate, under the masks of a policy."""

import argparse
from pathlib import Path

from accelerate import Accelerator
from torch.optim import AdamW
from torch.utils.data import DataLoader
from transformers import AutoModelForMaskedLM, AutoTokenizer

from policylearn import PolicyCollator


def train(model: str, policy: str, texts: str, out: str, epochs: int = 3) -> None:
    tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModelForMaskedLM.from_pretrained(model)
    lines = Path(texts).read_text(encoding="utf-8").strip().split("\n")
    collator = PolicyCollator.from_pretrained(policy, tokenizer)
    loader = DataLoader(tokenizer(lines, truncation=True)["input_ids"], 8, shuffle=True, collate_fn=collator)
    accelerator = Accelerator()
    network, optimizer, loader = accelerator.prepare(network, AdamW(network.parameters(), lr=5e-5), loader)
    network.train()  # as it comes from `from_pretrained`, it trains without dropout
    for epoch in range(epochs):
        collator.set_epoch(epoch)
        for step, batch in enumerate(loader):
            collator.set_progress((epoch + step / len(loader)) / epochs)
            accelerator.backward(network(**batch).loss)
            optimizer.step()
            optimizer.zero_grad()
    accelerator.unwrap_model(network).save_pretrained(out, is_main_process=accelerator.is_main_process)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--model", "--policy", "--texts", "--out"):
        parser.add_argument(name, required=True)
    train(**vars(parser.parse_args()))
