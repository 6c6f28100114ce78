"""Examples as `tokenizer(texts, truncation=True)` makes them, of real abstracts."""

import gzip
import json
from itertools import islice
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

Example = dict


def examples(
    tokenizer: PreTrainedTokenizerBase, corpus: Path, rows: int, width: int, offsets: bool = False
) -> list[Example]:
    """So many texts of at most `width` tokens, a few of them shorter; with offsets, which transformers does not pad,
    all of one length."""
    each = (4 if offsets else 1) * (1 + width // 180)
    with gzip.open(corpus, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in islice(lines, rows * each)]
    joined = [" ".join(texts[i * each : (i + 1) * each]) for i in range(rows)]
    coded = tokenizer(
        joined, truncation=True, max_length=width, return_special_tokens_mask=True, return_offsets_mapping=offsets
    )
    return [{name: column[i] for name, column in coded.items()} for i in range(rows)]


def as_tensors(texts: list[Example]) -> list[Example]:
    return [{name: torch.tensor(column) for name, column in text.items()} for text in texts]
