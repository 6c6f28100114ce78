"""Train a masked-diffusion language model with Hugging Face `Trainer`, texts hidden as a policy says."""

import argparse
from pathlib import Path

from torch.nn.functional import cross_entropy
from transformers import AutoModelForMaskedLM, AutoTokenizer, Trainer, TrainingArguments

from policylearn import DiffusionCollator
from policylearn.trainers import EpochCallback


class DiffusionTrainer(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        nll = cross_entropy(outputs.logits.transpose(1, 2), inputs["labels"], reduction="none")
        loss = (inputs["weights"] * nll).sum() / (inputs["p_mask"] > 0).sum().clamp(min=1)
        return (loss, outputs) if return_outputs else loss


def train(model: str, policy: str, texts: str, out: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    collator = DiffusionCollator.from_pretrained(policy, tokenizer, complement=True)
    lines = Path(texts).read_text(encoding="utf-8").strip().split("\n")
    trainer = DiffusionTrainer(
        model=AutoModelForMaskedLM.from_pretrained(model),
        args=TrainingArguments(out, num_train_epochs=3),
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
