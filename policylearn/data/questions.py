"""Closed-book questions: a question, its answers, and maybe choices, but no text to look the answer up in."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.config import TaskConfig
from policylearn.data.formats import Record
from policylearn.data.lists import list_of
from policylearn.data.opened import OpenTask, open_task
from policylearn.data.task import carve_missing, carved_line, read_splits
from policylearn.data.text import text_of
from policylearn.data.tokens import TokenRows, tokenize
from policylearn.masking import IGNORED
from policylearn.messages.quote import some


@dataclass(frozen=True)
class AnsweredBatch:
    """Questions with their answers: input_ids and real [B, T], answers [B, A] with -100 in padding."""

    input_ids: Tensor
    real: Tensor
    answers: Tensor

    @property
    def tokens(self) -> int:
        """Of all answers."""
        return int((self.answers != IGNORED).sum())


@dataclass(frozen=True)
class Questions:
    """One split, tokenised.

    Attributes:
        rows: N questions.
        answers: the first answer of each, which is learned.
        accepted: all answers of each, as they are spelt.
        choices: candidates for an answer; those of question i are rows `first[i]` to before `first[i + 1]`.
        first: [N + 1].
        right: for every choice, whether it is an answer; boolean.
    """

    rows: TokenRows
    answers: TokenRows
    accepted: list[list[str]]
    choices: TokenRows
    first: np.ndarray
    right: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def contents(self) -> Iterator[bytes]:
        """All that is to be answered, for keys."""
        yield from (*self.answers.contents(), *self.choices.contents())
        spans = list(pairwise(self.first.tolist()))
        first = np.array([self.right[start:end].argmax() if end > start else 0 for start, end in spans])
        yield from (json.dumps(self.accepted).encode(), self.first.tobytes(), first.tobytes())
        if any(self.right[start:end].sum() > 1 for start, end in spans):  # else the keys of results that there are
            yield self.right.tobytes()

    def batch(self, picked: Sequence[int], pad_id: int) -> AnsweredBatch:
        """The given questions and the answers to be learned."""
        return answered(self.rows, self.answers, picked, picked, pad_id)

    def tokens(self, picked: Sequence[int] | np.ndarray) -> np.ndarray:
        """Of the answers to be learned, [len(picked)]."""
        return np.diff(self.answers.offsets)[picked]

    @property
    def told(self) -> dict[str, TokenRows]:
        """What a model may say, by what it is called in messages."""
        return {"answers": self.answers, "choices": self.choices}

    @cached_property
    def asked(self) -> np.ndarray:
        """The question of every choice."""
        return np.repeat(np.arange(len(self)), np.diff(self.first))


def answered(
    questions: TokenRows, answers: TokenRows, asked: Sequence[int], told: Sequence[int], pad_id: int
) -> AnsweredBatch:
    """The questions `asked` with the answers `told`, side by side."""
    ids, given = answers.batch(told, pad_id)
    return AnsweredBatch(*questions.batch(asked, pad_id), torch.where(given, ids, IGNORED))


@dataclass(frozen=True)
class Question:
    """A question: accepted answers, the first of which is learned; choices, of which those that are accepted are
    right."""

    text: str
    accepted: list[str]
    choices: list[str]


@dataclass(frozen=True)
class QuestionTask:
    """The questions of every split; labels (none), carved, unread: as in `data.task.Task`."""

    splits: dict[str, list[Question]]
    carved: str | None = None
    unread: tuple[str, ...] = ()
    labels: list[str] = field(default_factory=list)


def read_questions(config: TaskConfig, opened: OpenTask | None = None) -> QuestionTask:
    """Read every split of a task of questions; dev and test are carved off train where there are none.

    Args:
        config: names the columns: `text` of the question, `answers`, and `choices` if there are any.
        opened: the data set, if it is open already.

    Raises:
        ValueError: a split is missing or empty, a column is not there, a question or an answer is no text, a question
            has no answer, or none of its choices is an answer.
    """
    assert config.answers is not None and isinstance(config.text, str), "the config sees to it"
    settings = {config.text: "task.text", config.answers: "task.answers"}
    settings |= {config.choices: "task.choices"} if config.choices else {}
    records, unread = read_splits(config, opened or open_task(config), settings, [config.text])
    read = {split: [_question(config, split, *row) for row in enumerate(rows)] for split, rows in records.items()}
    train = read["train"]
    rows = carve_missing(config, read, [question.text for question in train], [""] * len(train))
    taken = {name: [train[i] for i in picked] for name, picked in rows.items()}
    return QuestionTask(read | taken, carved_line(config, rows, ""), unread)


def tokenize_questions(
    asked: Sequence[Question], tokenizer: PreTrainedTokenizerBase, max_length: int, answer_length: int
) -> Questions:
    """One split, tokenised.

    Args:
        asked: its questions.
        tokenizer: a fast one.
        max_length: tokens of a question.
        answer_length: tokens of an answer or choice.
    """
    return Questions(
        tokenize([one.text for one in asked], tokenizer, max_length),
        tokenize([one.accepted[0] for one in asked], tokenizer, answer_length),
        [one.accepted for one in asked],
        tokenize([choice for one in asked for choice in one.choices], tokenizer, answer_length),
        np.cumsum([0, *(len(one.choices) for one in asked)]),
        np.array([choice in one.accepted for one in asked for choice in one.choices], bool),
    )


def _question(config: TaskConfig, split: str, row: int, record: Record) -> Question:
    assert isinstance(config.text, str), "the config sees to it"
    source, place = f"task.path {config.path}: split {split!r}", f"row {row}"
    answers, choices = (
        _listed(record[name], source, f"{place}: column {name!r}") if name else []
        for name in (config.answers, config.choices)
    )
    _check(config, f"{source}, {place}", answers, choices)
    return Question(record[config.text], answers, choices)


def _listed(value: object, source: str, place: str) -> list[str]:
    """One answer or several, alone or as "text" of a record, as SQuAD has answers and ARC choices; a whole number is
    one too."""
    value = value["text"] if isinstance(value, Mapping) and "text" in value else value
    several = list_of(value)
    return [_answer(one, source, place) for one in ([value] if several is None else several)]


def _answer(one: object, source: str, place: str) -> str:
    number = isinstance(one, int) and not isinstance(one, bool)
    return str(one) if number else text_of(one, source, place, "it must hold a text or a list of texts")


def _check(config: TaskConfig, where: str, answers: list[str], choices: list[str]) -> None:
    if not answers or not answers[0].strip():
        raise ValueError(f"{where}: no answer in column {config.answers!r}; fill it or drop the row")
    if config.choices and not set(answers) & set(choices):
        raise ValueError(
            f"{where}: none of the choices {some(choices)} is an answer; mend the row or unset task.choices"
        )
