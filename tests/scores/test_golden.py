"""Anchors found by counting, against those the authors of Difference-Masking typed in (20 for each of two tasks).

How their lists were made is not known; the paper describes TF-ICF. What finds most of them, with one setting for both:

- the domain is the *task's own* training texts. In large corpora of the same field other words are typical: names of
  drugs and "patients" instead of enzymes ("tcdd" is not there at all), "neural" and "dataset" instead of "charniak";
- words are as the tokenizer cuts texts into them: whole words, put together of pieces;
- of the words that make up a certain share of the domain (.00045 of it) the rarest in general text come first: order
  "icf". In both tasks the rarest word of the published list makes up about .0004 of the training texts.

TF-ICF proper (order "tficf") puts frequent words first, "inhibitor", "expression" and "cells", and with the default
ratio of 4 words of any paper ("et", "we"); to ask for words 200 times as frequent as in general text helps. The share
was chosen on these very lists, so the overlap says that they can be found, not how well others would be.
"""

import gzip
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from policylearn.config.scores import DifferenceConfig
from policylearn.masking.vocabulary import vocabulary
from policylearn.scores.anchors import find_anchors
from policylearn.scores.counting import count_corpus

SHARED = Path(__file__).parents[2] / "../shared"
ARTICLES = 400
PUBLISHED = {
    "chemprot": "inos adrenoceptor inhibit tcdd akt agonist vegf caspase inhibiting ec cyclin microm antagonist "
    "potency antagonists inhibitory potent inhibits tyrosine synthase",
    "acl_arc": "charniak coreference treebank parsers grammars parse syntactic linguistic lexical roth och parser "
    "parsing extraction chen sentences phrase semantic sentence dialogue",
}

pytestmark = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason=f"{SHARED}/data is not there")


def texts(name: str, limit: int | None = None) -> list[str]:
    with gzip.open(SHARED / "data" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in islice(lines, limit)]


@pytest.fixture(scope="module")
def overlap():
    """How many of a task's published anchors are among the first 20 found."""
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "models/minilm-l6-mlm")
    tables = vocabulary(tokenizer)
    domains = {task: count_corpus(texts(f"tasks/{task}/train"), tokenizer, tables) for task in PUBLISHED}
    words = np.unique(np.concatenate([counts.words.keys for counts in domains.values()]))
    general = count_corpus(texts("corpora/corpus_wiki_featured", ARTICLES), tokenizer, tables, only=words)

    def found(order: str, share: float, ratio: float) -> dict[str, int]:
        shared = {}
        config = DifferenceConfig(anchors=20, anchor_ratio=ratio, anchor_order=order, anchor_share=share)
        for task, domain in domains.items():
            anchors = find_anchors(domain, general, tokenizer, config).texts
            shared[task] = len(set(anchors) & set(PUBLISHED[task].split()))
            print(f"{order} share {share} ratio {ratio} {task}: {shared[task]} of 20: {' '.join(anchors)}")
        return shared

    return found


@pytest.mark.long
def test_most_published_anchors_are_found(overlap):
    found = overlap("icf", share=0.00045, ratio=4.0)
    assert found["chemprot"] >= 12 and found["acl_arc"] >= 14


def test_tficf_finds_fewer_and_fewer_yet_without_a_high_ratio(overlap):
    low, high = overlap("tficf", share=0.0, ratio=4.0), overlap("tficf", share=0.0, ratio=200.0)
    assert high["chemprot"] >= 5 and high["acl_arc"] >= 11
    assert all(low[task] < high[task] for task in PUBLISHED)
