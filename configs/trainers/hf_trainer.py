"""Train a masked language model further with Hugging Face `Trainer`, under the masks of a policy."""

import argparse
from pathlib import Path

from transformers import AutoModelForMaskedLM, AutoTokenizer, Trainer, TrainingArguments

from policylearn import PolicyCollator
from policylearn.trainers import EpochCallback


def train(model: str, policy: str, texts: str, out: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    collator = PolicyCollator.from_pretrained(policy, tokenizer)
    lines = Path(texts).read_text(encoding="utf-8").strip().split("\n")
    trainer = Trainer(
        model=AutoModelForMaskedLM.from_pretrained(model),
        args=TrainingArguments(out, num_train_epochs=3, dataloader_num_workers=2),
        train_dataset=[{"input_ids": ids} for ids in tokenizer(lines, truncation=True)["input_ids"]],
        processing_class=tokenizer,
        data_collator=collator,
        callbacks=[EpochCallback(collator)],
    )
    trainer.train()
    trainer.save_model(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--model", "--policy", "--texts", "--out"):
        parser.add_argument(name, required=True)
    train(**vars(parser.parse_args()))
