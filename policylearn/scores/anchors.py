"""The anchors of Difference-Masking: the words that make the domain different."""

import difflib
from dataclasses import dataclass
from unicodedata import east_asian_width

import numpy as np
from transformers import PreTrainedTokenizerBase

from policylearn.config.scores import DifferenceConfig
from policylearn.scores.counting import CorpusCounts
from policylearn.scores.lexicon import Lexicon
from policylearn.scores.tficf import counts_of, word_tficf

MIN_LETTERS = 2
BLOCK = 1000


@dataclass(frozen=True)
class Anchors:
    """K words, most typical first.

    Attributes:
        texts: the words.
        pieces: [K, PIECES] int32, their token ids, filled up with -1.
    """

    texts: list[str]
    pieces: np.ndarray


def find_anchors(
    domain: CorpusCounts, general: CorpusCounts, tokenizer: PreTrainedTokenizerBase, config: DifferenceConfig
) -> Anchors:
    """The most typical words of the domain, `scores.difference.anchors` at most.

    TF-ICF alone ranks very frequent function words high in any domain (a term frequency of .05 outweighs any
    logarithm), so an anchor must also be `anchor_ratio` times as frequent in the domain as in general text (one added
    to the general count). It must occur `anchor_count` times, make up `anchor_share` of the words of the domain, and
    have two letters, or be one of Chinese, Japanese or Korean; where no word has two, as of proteins, one will do. With
    `anchor_order` "icf" those that are rarest in general text come first, and of equally rare ones the most frequent in
    the domain: with a share, this finds more of the words that people chose (tests/scores/test_golden.py).

    Args:
        domain: counts of the domain.
        general: counts of the general corpus, of the domain's words at least.
        tokenizer: of the words.
        config: [scores.difference], which has these settings.

    Raises:
        ValueError: a corpus is empty, or no word qualifies.
    """
    typicality, counts = word_tficf(domain, general), domain.words.counts
    others = counts_of(domain.words.keys, general)
    frequency = counts / domain.total_words
    usable = (counts >= config.anchor_count) & (frequency >= config.anchor_share)
    usable &= frequency >= config.anchor_ratio * (others + 1) / general.total_words
    rows = np.argsort(-typicality, kind="stable") if config.anchor_order == "tficf" else np.lexsort((-counts, others))
    picked = rows[usable[rows]]
    if not (found := _first_words(domain.words, picked, tokenizer, config.anchors)):
        found = _first_words(domain.words, picked, tokenizer, config.anchors, letters=1)
    if not found:
        raise ValueError(
            f"no word of the domain corpus can be an anchor: none has a letter, occurs {config.anchor_count} times and "
            f"is {config.anchor_ratio} times as frequent as in general text; check domain.path, general.path, "
            "scores.difference.anchor_count, scores.difference.anchor_ratio and scores.difference.anchor_share"
            f"{domain.too_long}"
        )
    return Anchors(list(found), domain.words.pieces[list(found.values())])


def _first_words(
    words: Lexicon, rows: np.ndarray, tokenizer: PreTrainedTokenizerBase, k: int, letters: int = MIN_LETTERS
) -> dict[str, int]:
    """The first `k` of the rows that are words of so many letters and read differently (many tokenizers have one key
    for a word at the beginning of a text and another for the same word after a space), with their rows."""
    found: dict[str, int] = {}
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        for text, row in zip(words.take(block).texts(tokenizer), block, strict=True):
            if letters_of(text) >= letters:
                found.setdefault(text, int(row))
            if len(found) == k:
                return found
    return found


def letters_of(text: str) -> int:
    """How many letters a word has; signs that are words or syllables by themselves, all wide ones, count as two.

    >>> [letters_of(text) for text in ["naïve", "3d", "B6", "##", "药", "한"]]
    [5, 1, 1, 0, 2, 2]
    """
    return sum(c.isalpha() * (1 + (east_asian_width(c) in "WF")) for c in text)


def named_anchors(names: list[str], words: Lexicon, tokenizer: PreTrainedTokenizerBase) -> Anchors:
    """The anchors of given names, in their order.

    Args:
        names: words as people write them; the tokenizer decides about upper and lower case.
        words: of the domain.
        tokenizer: of the words.

    Raises:
        ValueError: a name is no word of the domain, with words that are and look alike.
    """
    by_count = np.argsort(words.counts, kind="stable")
    rows = dict(zip(words.take(by_count).texts(tokenizer), by_count, strict=True))
    found = [rows.get(name, rows.get(_as_tokenised(name, tokenizer))) for name in names]
    for name, row in zip(names, found, strict=True):
        if row is None:
            # Few people mean a rare word, and comparing with all of a large domain takes a minute.
            near = difflib.get_close_matches(name, list(rows)[-20_000:], n=5, cutoff=0.5)
            hint = f"did you mean {', '.join(near)}?" if near else "is domain.path right?"
            raise ValueError(f"scores.difference.anchor_words: {name!r} is not a word of the domain corpus; {hint}")
    return Anchors(list(names), words.pieces[np.array(found, dtype=np.int64)])


def _as_tokenised(name: str, tokenizer: PreTrainedTokenizerBase) -> str:
    ids = tokenizer(name, add_special_tokens=False)["input_ids"]
    return tokenizer.batch_decode([ids], clean_up_tokenization_spaces=False)[0].strip()
