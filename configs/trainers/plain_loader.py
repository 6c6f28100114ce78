"""Train a masked language model further with nothing but PyTorch, under the masks of a policy."""

import argparse
from pathlib import Path

from torch.optim import AdamW
from torch.utils.data import DataLoader
from transformers import AutoModelForMaskedLM, AutoTokenizer

from policylearn import PolicyCollator


def train(model: str, policy: str, texts: str, out: str, epochs: int = 3) -> None:
    tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModelForMaskedLM.from_pretrained(model).train()
    lines = Path(texts).read_text(encoding="utf-8").strip().split("\n")
    examples = tokenizer(lines, truncation=True)["input_ids"]
    collator = PolicyCollator.from_pretrained(policy, tokenizer)
    loader = DataLoader(examples, 8, shuffle=True, collate_fn=collator, num_workers=2, persistent_workers=True)
    optimizer = AdamW(network.parameters(), lr=5e-5)
    for epoch in range(epochs):
        collator.set_epoch(epoch)
        for step, batch in enumerate(loader):
            collator.set_progress((epoch + step / len(loader)) / epochs)
            network(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    network.save_pretrained(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--model", "--policy", "--texts", "--out"):
        parser.add_argument(name, required=True)
    train(**vars(parser.parse_args()))
