"""The two rows about scores: Difference-Masking's vectors of words, and counting."""

import gzip
import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cosine_similarity
from transformers import AutoModel, PreTrainedTokenizerBase

from policylearn.config import ModelConfig, ScoresConfig
from policylearn.masking import Vocabulary, vocabulary
from policylearn.models.loading import load_model
from policylearn.scores.counting import CorpusCounts, Tally, count_chunk, text_chunks
from policylearn.scores.difference import anchor_similarity
from policylearn.scores.registry import score
from policylearn.scores.sources import Sources
from policylearn.scores.vectors import type_pieces, word_embedder

ANCHORS = ["parser", "treebank", "coreference", "corpus", "semantic", "lexical", "translation", "dialogue"]

Times = tuple[str, str, float, float]
"""(row, target ratio, milliseconds of ours, milliseconds of theirs)."""


def read(corpus: Path, texts: int | None = None) -> Iterator[str]:
    with gzip.open(corpus, "rt", encoding="utf-8") as lines:
        yield from (json.loads(line)["text"] for line in islice(lines, texts))


def spent_ms(start: float) -> float:
    return 1000 * (time.process_time() - start)


# -- Difference-Masking: ours scores a vocabulary once, the released code every occurrence in the collator ------------


def difference_scoring(model: Path, corpus: Path, tokenizer: PreTrainedTokenizerBase, quick: bool) -> list[Times]:
    """A corpus, and a single word, where nothing is gained by scoring equal words once: what is left is the gain of
    batches. With --quick it is a tenth of the corpus, and ours is extrapolated as well, from 1,024 words."""
    texts = list(read(corpus, 2000 if quick else None))
    sources = difference_sources(model, texts, tokenizer)
    start = time.process_time()
    pieces = sources.lexicon.pieces
    counting = spent_ms(start)
    wanted = np.concatenate([type_pieces(len(sources.vocabulary.special)), pieces[pieces[:, 1] >= 0]])
    some = np.random.default_rng(0).permutation(len(wanted))[:1024] if quick else np.arange(len(wanted))
    start = time.process_time()
    if quick:
        anchor_similarity(wanted[some], sources.anchors.pieces, word_embedder(sources))
    else:
        score("difference", sources)
    each = spent_ms(start) / len(some)
    occurrences = sum(len(text.split()) for text in texts)
    call = one_call_per_word(model, " ".join(texts[:100]).split()[: 100 if quick else 500], tokenizer)
    scored = f"{occurrences:,} words, {len(wanted):,} distinct"
    return [
        (f"difference, corpus of {scored}", "100×", counting + each * len(wanted), call * occurrences),
        ("difference, per distinct word (batches alone)", "none", each, call),
    ]


def difference_sources(model: Path, texts: list[str], tokenizer: PreTrainedTokenizerBase) -> Sources:
    def unused(*_: object) -> Iterator:
        raise AssertionError("the scorer reads the domain, the anchors' names and the model")

    tables = vocabulary(tokenizer)
    size, pad = len(tables.special), tokenizer.pad_token_id
    loaded = load_model(ModelConfig(name=str(model)), size, pad, 0, "sdpa")
    config = ScoresConfig(difference={"embedding": "encoder", "anchor_words": ANCHORS})
    return Sources(config, tokenizer, tables, lambda: texts, unused, unused, lambda: loaded, unused, unused)


def one_call_per_word(model: Path, words: list[str], tokenizer: PreTrainedTokenizerBase) -> float:
    """Milliseconds per occurrence the way the released code goes: the pooler's output of every word alone, compared
    with the anchors', which are computed beforehand."""
    encoder = AutoModel.from_pretrained(model).eval()
    with torch.no_grad():
        near = encoder(**tokenizer(ANCHORS, padding=True, return_tensors="pt")).pooler_output
        encoder(**tokenizer("warm", return_tensors="pt"))
        start = time.process_time()
        for word in words:
            vector = encoder(**tokenizer(word, return_tensors="pt")).pooler_output
            cosine_similarity(vector, near).max().item()
    return spent_ms(start) / len(words)


# -- TF-ICF: counting beside the tokenizer's own time ------------------------------------------------------------------


def tficf_counting(domain: Path, general: Path, tokenizer: PreTrainedTokenizerBase, quick: bool) -> list[Times]:
    """Counting a domain, and a general corpus for the words of the domain, against tokenising the same chunks."""
    tables = vocabulary(tokenizer)
    *first, counts = counted(list(read(domain, 2000 if quick else None)), tokenizer, tables)
    *second, _ = counted(list(read(general, 100 if quick else None)), tokenizer, tables, counts.words.keys)
    ours, theirs = first[0] + second[0], first[1] + second[1]
    return [("TF-ICF counting, against tokenising alone", "0.67×", ours, theirs)]


def counted(
    texts: list[str], tokenizer: PreTrainedTokenizerBase, tables: Vocabulary, only: np.ndarray | None = None
) -> tuple[float, float, CorpusCounts]:
    """Milliseconds of `count_corpus`, and of the tokenizer, chunk by chunk in turn, and the counts."""
    tally, ours, theirs = Tally(len(tables.special)), 0.0, 0.0
    for number, chunk in enumerate(text_chunks(texts)):
        for mine in (True, False) if number % 2 else (False, True):
            start = time.process_time()
            if mine:
                tally.add(count_chunk(chunk, tokenizer, tables, only))
                ours += spent_ms(start)
            else:
                tokenizer(chunk, add_special_tokens=False, verbose=False)["input_ids"]
                theirs += spent_ms(start)
    start = time.process_time()
    counts = tally.total()
    return ours + spent_ms(start), theirs, counts
