"""The planted benchmark `planted-context`: a word is worth predicting beside a marker, and nowhere else.

The words are those of `data.planted`, and *markers*. A class word that follows a marker is of its document's class.
One that stands alone, after no marker, is drawn from all classes and tells nothing; so does a generic word that follows
a marker. A table over types can prefer class words, and masks those that stand alone as often as the others; only who
reads the word before tells them apart. A labelled document holds one or two class words after a marker and perhaps one
that stands alone, and there are few labelled documents: a classifier of words is not sure of them, either.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from policylearn.config import PlantedContextConfig
from policylearn.data.planted import (
    class_words,
    distractor_words,
    draw_distractors,
    draw_generic,
    generic_words,
    split_tasks,
    word_tokenizer,
)
from policylearn.data.task import Task

USEFUL = "useful"
"""Column of the domain corpus: for each word 1 if it is worth predicting where it stands, else 0."""

Unit = list[tuple[str, int]]
"""Words that stay side by side, each with what `USEFUL` says of it."""


@dataclass(frozen=True)
class Document:
    """Words in order, what `USEFUL` says of each, and the class."""

    words: list[str]
    useful: list[int]
    label: int

    @property
    def text(self) -> str:
        """As the tokenizer reads it."""
        return " ".join(self.words)


def marker_words(config: PlantedContextConfig) -> list[str]:
    """Words after which a class word tells of the class."""
    return [f"marker_{i}" for i in range(config.marker_words)]


def context_tokenizer(config: PlantedContextConfig) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over the vocabulary of this benchmark."""
    return word_tokenizer(
        [*_any_class(config), *distractor_words(config), *generic_words(config), *marker_words(config)]
    )


def context_records(config: PlantedContextConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """The unlabelled domain documents, each with its column `USEFUL`."""
    rng = np.random.default_rng([config.seed, 11])
    for _ in range(config.documents):
        marked, alone = rng.binomial(config.length, [config.class_share, config.alone_share])
        found = _document(config, rng, max(1, marked), alone)
        yield found.text, {USEFUL: found.useful}


def context_task(config: PlantedContextConfig) -> Task:
    """The labelled documents, with splits train, dev and test and labels "class0", "class1", …"""
    return split_tasks(config, stream=13, draw=lambda rng: _labelled(config, rng))


def _labelled(config: PlantedContextConfig, rng: np.random.Generator) -> tuple[str, int]:
    marked = int(rng.integers(1, config.labelled_class_words + 1))
    found = _document(config, rng, marked, alone=int(rng.integers(0, config.labelled_alone_words + 1)))
    return found.text, found.label


def _document(config: PlantedContextConfig, rng: np.random.Generator, marked: int, alone: int) -> Document:
    """Pairs that a marker begins, and words that stand alone, in random order; so many class words of either kind."""
    label = int(rng.integers(config.classes))
    idle, distractors = rng.binomial(config.length, [config.idle_share, config.distractor_share])
    units = _after_markers(config, rng, rng.choice(class_words(config, label), marked), useful=1)
    units += _after_markers(config, rng, draw_generic(config, rng, idle), useful=0)
    loose = [*rng.choice(_any_class(config), alone), *draw_distractors(config, rng, distractors)]
    loose += draw_generic(config, rng, max(0, config.length - 2 * len(units) - len(loose)))
    units += [[(word, 0)] for word in loose]
    placed = [pair for i in rng.permutation(len(units)) for pair in units[i]]
    return Document([str(word) for word, _ in placed], [useful for _, useful in placed], label)


def _after_markers(config: PlantedContextConfig, rng: np.random.Generator, words: Any, useful: int) -> list[Unit]:
    markers = rng.choice(marker_words(config), len(words))
    return [[(marker, 0), (word, useful)] for marker, word in zip(markers, words, strict=True)]


def _any_class(config: PlantedContextConfig) -> list[str]:
    return [word for label in range(config.classes) for word in class_words(config, label)]
