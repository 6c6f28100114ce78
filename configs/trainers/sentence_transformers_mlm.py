"""Train a masked language model further under the masks of a policy, and go on with it in sentence-transformers."""

import argparse
from pathlib import Path

from sentence_transformers import SentenceTransformer
from transformers import AutoModelForMaskedLM, AutoTokenizer, Trainer, TrainingArguments

from policylearn import PolicyCollator
from policylearn.trainers import EpochCallback


def train(model: str, policy: str, texts: str, out: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    collator = PolicyCollator.from_pretrained(policy, tokenizer)
    lines = Path(texts).read_text(encoding="utf-8").strip().split("\n")
    trainer = Trainer(
        model=AutoModelForMaskedLM.from_pretrained(model),
        args=TrainingArguments(f"{out}/mlm", num_train_epochs=3),
        train_dataset=[{"input_ids": ids} for ids in tokenizer(lines, truncation=True)["input_ids"]],
        processing_class=tokenizer,
        data_collator=collator,
        callbacks=[EpochCallback(collator)],
    )
    trainer.train()
    trainer.save_model(f"{out}/mlm")
    encoder = SentenceTransformer(f"{out}/mlm")  # the trained encoder, with mean pooling
    print(encoder.similarity(*encoder.encode(lines[:2])))
    encoder.save(f"{out}/encoder")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--model", "--policy", "--texts", "--out"):
        parser.add_argument(name, required=True)
    train(**vars(parser.parse_args()))
