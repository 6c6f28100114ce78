"""The planted benchmark: synthetic text for which the best masking policy is known.

Three kinds of words. *Generic* words follow a Zipf law and mean nothing. *Class* words belong to a latent
class and co-occur within a document. *Distractor* words belong to latent topics, co-occur just as much and
are just as typical of the domain, but the topic is independent of the class. A labelled document holds only
one or two class words, and the classifier sees few labelled documents: it must have learned from masked
language modelling which class words are alike. Difference-Masking finds class words *and* distractors; only
the downstream signal tells them apart. The oracle masks class words.

Words are named after what they are (`class0_07`, `distractor_31`, `generic_102`), so that a heatmap can be
judged at a glance; the models see only token ids.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from policylearn.config import PlantedConfig
from policylearn.data.task import Split, Task

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
DISTRACTOR_TOPICS = 2


def class_words(config: PlantedConfig, label: int) -> list[str]:
    """The words of one class."""
    return [f"class{label}_{i:02d}" for i in range(config.class_words)]


def distractor_words(config: PlantedConfig) -> list[str]:
    """Domain words that predict nothing."""
    return [f"distractor_{i:02d}" for i in range(config.distractor_words)]


def generic_words(config: PlantedConfig) -> list[str]:
    """Words of general language, most frequent first."""
    return [f"generic_{i:03d}" for i in range(config.generic_words)]


def is_useful(word: str) -> bool:
    """Whether the oracle would mask this word.

    >>> [is_useful(word) for word in ["class1_03", "distractor_11", "generic_000", "[CLS]", "classic"]]
    [True, False, False, False, False]
    """
    return re.fullmatch(r"class\d+_\d+", word) is not None


def is_distracting(word: str) -> bool:
    """Whether this is a domain word that predicts nothing.

    >>> [is_distracting(word) for word in ["class1_03", "distractor_11", "generic_000", "[CLS]", "distractor"]]
    [False, True, False, False, False]
    """
    return re.fullmatch(r"distractor_\d+", word) is not None


def planted_tokenizer(config: PlantedConfig) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over the planted vocabulary, an ordinary transformers tokenizer."""
    words = [word for label in range(config.classes) for word in class_words(config, label)]
    return word_tokenizer([*words, *distractor_words(config), *generic_words(config)])


def word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of which every given word is a token."""
    vocabulary = [*SPECIALS, *words]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ids = {w: i for i, w in enumerate(SPECIALS)}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    names = ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **dict(zip(names, SPECIALS, strict=True)))


def domain_corpus(config: PlantedConfig) -> list[str]:
    """Unlabelled domain documents: generic words, words of one class, words of one distractor topic."""
    rng = np.random.default_rng([config.seed, 1])
    return _documents(config, config.documents, lambda: _domain_words(config, rng)[0])


def general_corpus(config: PlantedConfig) -> list[str]:
    """As many documents of generic words alone."""
    rng = np.random.default_rng([config.seed, 2])
    return _documents(config, config.documents, lambda: draw_generic(config, rng, config.length))


def planted_task(config: PlantedConfig) -> Task:
    """The labelled documents, with splits train, dev and test and labels "class0", "class1", …"""
    return split_tasks(config, stream=3, draw=lambda rng: _labelled(config, rng))


def split_tasks(config: PlantedConfig, stream: int, draw: Callable[[np.random.Generator], tuple[str, int]]) -> Task:
    """A task of the sizes that a config says, of rows (text, class) that are drawn, each split from a stream of its
    own."""
    labels = [f"class{label}" for label in range(config.classes)]
    sizes = {"train": config.train, "dev": config.dev, "test": config.test}
    splits = {}
    for number, (name, size) in enumerate(sizes.items()):
        rng = np.random.default_rng([config.seed, stream, number])
        rows = [draw(rng) for _ in range(size)]
        splits[name] = Split([text for text, _ in rows], [labels[y] for _, y in rows])
    return Task(splits, labels)


def _documents(config: PlantedConfig, n: int, words: Callable[[], list[str]]) -> list[str]:
    return [" ".join(words()) for _ in range(n)]


def draw_generic(config: PlantedConfig, rng: np.random.Generator, n: int) -> list[str]:
    """So many generic words, by a Zipf law."""
    weights = 1.0 / np.arange(1, config.generic_words + 1)
    return list(rng.choice(generic_words(config), size=n, p=weights / weights.sum()))


def draw_distractors(config: PlantedConfig, rng: np.random.Generator, n: int) -> list[str]:
    """So many words of one distractor topic."""
    topics = np.array_split(distractor_words(config), DISTRACTOR_TOPICS)
    return list(rng.choice(topics[rng.integers(DISTRACTOR_TOPICS)], size=n))


def _domain_words(config: PlantedConfig, rng: np.random.Generator, cap: int | None = None) -> tuple[list[str], int]:
    """Words of one document in random order, and its class; at most `cap` of them class words."""
    label = int(rng.integers(config.classes))
    n_class = max(1, int(rng.binomial(config.length, config.class_share)))
    if cap is not None:
        n_class = int(rng.integers(1, cap + 1))
    n_distractor = int(rng.binomial(config.length, config.distractor_share))
    n_generic = max(0, config.length - n_class - n_distractor)
    words = list(rng.choice(class_words(config, label), size=n_class))
    words += draw_distractors(config, rng, n_distractor) + draw_generic(config, rng, n_generic)
    rng.shuffle(words)
    return words, label


def _labelled(config: PlantedConfig, rng: np.random.Generator) -> tuple[str, int]:
    words, label = _domain_words(config, rng, cap=config.labelled_class_words)
    return " ".join(words), label
