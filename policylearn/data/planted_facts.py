"""The planted benchmark `planted-facts`: facts about people, of which questions will ask for some and never for others.

A text is about one person: it states some attributes, each in a sentence of its own among filler. A question asks for
one attribute of one person, and is answered by heart. People are dealt into splits: questions about those of train show
how answers go with questions, dev and test ask for the same attributes of other people, of whom nothing but the texts
tells. So a model answers if it has learned the facts, and it learns those that are masked. Who masks every value, as
masks of entities do, spends on what is never asked; the oracle masks values of attributes that will be asked for.

Every attribute has values of a type of its own (`place_07`, `company_11`). People who are in no split are strangers:
the tokenizer knows their names, and no text does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from policylearn.config import ATTRIBUTES, PlantedFactsConfig
from policylearn.data.planted import word_tokenizer
from policylearn.data.planted_context import USEFUL
from policylearn.data.questions import Question, QuestionTask

ENTITIES = "entities"
"""Column of the domain corpus: for each word 1 if it is the value of an attribute, asked for or not, else 0."""
SPLITS = ("train", "dev", "test")
STOP = "."


@dataclass(frozen=True)
class Attribute:
    """What can be said of a person.

    Attributes:
        type: what its values are called.
        statement: words between person and value.
        question: words before and after the person.
    """

    type: str
    statement: str
    question: tuple[str, str]

    @property
    def words(self) -> list[str]:
        """Of statement and question."""
        return " ".join([self.statement, *self.question]).split()


KNOWN = {
    "birthplace": Attribute("place", "was born in", ("where was", "born ?")),
    "profession": Attribute("profession", "works as", ("as what does", "work ?")),
    "employer": Attribute("company", "is paid by", ("who has", "paid ?")),
    "prize": Attribute("prize", "was awarded", ("what was", "awarded ?")),
    "spouse": Attribute("spouse", "is married to", ("who has", "married ?")),
    "instrument": Attribute("instrument", "plays the", ("what does", "play ?")),
    "language": Attribute("language", "speaks only", ("what does", "speak ?")),
    "death": Attribute("day", "died on", ("when has", "died ?")),
}
assert tuple(KNOWN) == ATTRIBUTES


class Word(NamedTuple):
    """A word of a text: is it a value that will be asked for, is it a value at all?"""

    text: str
    useful: bool = False
    value: bool = False


def values(config: PlantedFactsConfig, attribute: str) -> list[str]:
    """The words that an attribute may have as its value."""
    return [f"{KNOWN[attribute].type}_{i:02d}" for i in range(config.values)]


def filler_words(config: PlantedFactsConfig) -> list[str]:
    """Words that mean nothing."""
    return [f"filler_{i:02d}" for i in range(config.filler_words)]


def people(config: PlantedFactsConfig, split: str) -> list[str]:
    """The people whom the questions of a split ask about; no person is in two splits.

    >>> config = PlantedFactsConfig(train=2, dev=1, test=1)
    >>> [people(config, split) for split in SPLITS]
    [['person_000', 'person_001'], ['person_002'], ['person_003']]
    """
    sizes = [getattr(config, name) for name in SPLITS]
    first = config.first + sum(sizes[: SPLITS.index(split)])
    return [_name(first + i) for i in range(getattr(config, split))]


def facts(config: PlantedFactsConfig) -> dict[str, dict[str, str]]:
    """Person → attribute → value, which is drawn from all that there are."""
    rng = np.random.default_rng([config.seed, 21])
    everyone = [person for split in SPLITS for person in people(config, split)]
    return {
        person: {attribute: str(rng.choice(values(config, attribute))) for attribute in KNOWN} for person in everyone
    }


def facts_tokenizer(config: PlantedFactsConfig) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over the vocabulary of this benchmark."""
    names = [_name(number) for number in range(config.people)]
    of_values = [word for attribute in KNOWN for word in values(config, attribute)]
    said = dict.fromkeys(word for attribute in KNOWN.values() for word in attribute.words)
    return word_tokenizer([*names, *of_values, *said, STOP, *filler_words(config)])


def facts_records(config: PlantedFactsConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """The unlabelled domain texts about the people of all splits, each with its columns `USEFUL` and `ENTITIES`."""
    for _, words in _texts(config):
        columns = {USEFUL: [int(word.useful) for word in words], ENTITIES: [int(word.value) for word in words]}
        yield _written(words), columns


def facts_general(config: PlantedFactsConfig) -> Iterator[str]:
    """As many texts, of filler alone."""
    rng = np.random.default_rng([config.seed, 23])
    for _, words in _texts(config):
        yield " ".join(rng.choice(filler_words(config), len(words)))


def facts_answers(config: PlantedFactsConfig, split: str) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Texts about the people of a split, each with the characters [start, end) of answers to the questions of it."""
    asked_about = set(people(config, split))
    for person, words in _texts(config):
        if person in asked_about:
            ends = accumulate(len(word.text) + 1 for word in words)
            pairs = zip(words, ends, strict=True)
            yield _written(words), [(end - 1 - len(word.text), end - 1) for word, end in pairs if word.useful]


def facts_task(config: PlantedFactsConfig) -> QuestionTask:
    """A question for every attribute that is asked for and every person of a split."""
    known = facts(config)
    return QuestionTask(
        {
            split: [
                Question(question(attribute, person), [known[person][attribute]], choices=[])
                for person in people(config, split)
                for attribute in config.asked
            ]
            for split in SPLITS
        }
    )


def question(attribute: str, person: str) -> str:
    """In words.

    >>> question("birthplace", "person_007")
    'where was person_007 born ?'
    """
    before, after = KNOWN[attribute].question
    return f"{before} {person} {after}"


def _name(number: int) -> str:
    return f"person_{number:03d}"


def _written(words: list[Word]) -> str:
    return " ".join(word.text for word in words)


def _texts(config: PlantedFactsConfig) -> Iterator[tuple[str, list[Word]]]:
    """All texts with the person each is about; every attribute of a person is stated somewhere."""
    rng = np.random.default_rng([config.seed, 22])
    for person, known in facts(config).items():
        for told in _dealt(config, rng):
            units = [_sentence(person, attribute, known[attribute], attribute in config.asked) for attribute in told]
            units += [[Word(str(word))] for word in rng.choice(filler_words(config), config.filler)]
            yield person, [word for i in rng.permutation(len(units)) for word in units[i]]


def _dealt(config: PlantedFactsConfig, rng: np.random.Generator) -> Iterator[list[str]]:
    """The attributes that each text about a person states: the next ones of a shuffled pack, again and again."""
    pack: list[str] = []
    for _ in range(config.texts):
        pack = pack or [str(name) for name in rng.permutation(list(KNOWN))]
        told, pack = pack[: config.sentences], pack[config.sentences :]
        yield told


def _sentence(person: str, attribute: str, value: str, asked: bool) -> list[Word]:
    said = (Word(word) for word in KNOWN[attribute].statement.split())
    return [Word(person), *said, Word(value, asked, value=True), Word(STOP)]
