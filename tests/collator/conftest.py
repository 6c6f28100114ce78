"""A policy that learned something as a collator, texts to mask, and how masks are read off a batch."""

import pytest
import torch

from policylearn import PolicyCollator
from policylearn.config import PlantedConfig
from policylearn.data.planted import domain_corpus

WORDS = PlantedConfig(class_words=5, distractor_words=6, generic_words=30, documents=64, length=20)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return domain_corpus(WORDS)


@pytest.fixture(scope="session")
def examples(tokenizer, texts) -> list[dict]:
    """Texts of 1 to 20 words, tokenised."""
    encoded = tokenizer([" ".join(text.split()[: 1 + i % 20]) for i, text in enumerate(texts)])
    return [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in encoded["input_ids"]]


@pytest.fixture
def collator(saved_policy) -> PolicyCollator:
    return PolicyCollator.from_pretrained(saved_policy)


def unmasked_of(batch) -> torch.Tensor:
    return torch.where(batch["labels"] != -100, batch["labels"], batch["input_ids"])


@pytest.fixture(scope="session")
def unmasked():
    """`unmasked(batch)`: the texts as they were before masking, [B, T]."""
    return unmasked_of


@pytest.fixture(scope="session")
def text_masks():
    """`text_masks(batch)`: text (its real tokens) → which of them are to be predicted."""

    def read(batch) -> dict[tuple[int, ...], list[bool]]:
        rows = zip(unmasked_of(batch), batch["labels"] != -100, batch["attention_mask"].bool(), strict=True)
        return {tuple(ids[real].tolist()): mask[real].tolist() for ids, mask, real in rows}

    return read
