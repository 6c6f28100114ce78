"""Closed-book questions: a question, its answers, and maybe choices, but no text to look the answer up in."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from policylearn.config import TaskConfig
from policylearn.data.records import read_records, split_source
from policylearn.data.tokens import TokenRows, tokenize
from policylearn.inner.answering import AnsweredBatch
from policylearn.masking import IGNORED


@dataclass(frozen=True)
class Questions:
    """One split, tokenised.

    Attributes:
        rows: N questions.
        answers: the first answer of each, which is learned.
        accepted: all answers of each, as they are spelt.
        choices: candidates for an answer; those of question i are rows `first[i]` to before `first[i + 1]`.
        first: [N + 1].
        right: [N], which of its choices is an answer; 0 where there are none.
    """

    rows: TokenRows
    answers: TokenRows
    accepted: list[list[str]]
    choices: TokenRows
    first: np.ndarray
    right: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, picked: Sequence[int], pad_id: int) -> AnsweredBatch:
        """The given questions and the answers to be learned."""
        return answered(self.rows, self.answers, picked, picked, pad_id)

    def tokens(self, picked: Sequence[int] | np.ndarray) -> np.ndarray:
        """Of the answers to be learned, [len(picked)]."""
        return np.diff(self.answers.offsets)[picked]

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


def load_questions(config: TaskConfig, split: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Questions:
    """Read and tokenise one split.

    Args:
        config: names the columns: `text` of the question, `answers`, and `choices` if there are any.
        split: its name.
        tokenizer: a fast one.
        max_length: tokens of a question; `config.answer_length` is that of answers and choices.

    Raises:
        ValueError: the split is missing or empty, a column is not there, a question has no answer, or none of its
            choices is an answer.
    """
    assert config.answers is not None
    columns = (config.text, config.answers, *([config.choices] if config.choices else []))
    read = list(read_records(split_source(config.path, split), columns, split=split, key="task.path"))
    if not read:
        raise ValueError(f"task.path {config.path}: split {split!r} is empty")
    accepted = [_listed(row[config.answers]) for row in read]
    choices = [_listed(row[config.choices]) if config.choices else [] for row in read]
    right = [_right(config, split, i, *pair) for i, pair in enumerate(zip(accepted, choices, strict=True))]
    return Questions(
        tokenize([str(row[config.text]) for row in read], tokenizer, max_length),
        tokenize([answers[0] for answers in accepted], tokenizer, config.answer_length),
        accepted,
        tokenize([choice for some in choices for choice in some], tokenizer, config.answer_length),
        np.cumsum([0, *map(len, choices)]),
        np.array(right),
    )


def _listed(value: object) -> list[str]:
    """One answer or several."""
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]


def _right(config: TaskConfig, split: str, row: int, answers: list[str], choices: list[str]) -> int:
    where = f"task.path {config.path}: split {split!r}, row {row}"
    if not answers or not answers[0].strip():
        raise ValueError(f"{where}: no answer in column {config.answers!r}; fill it or drop the row")
    if config.choices and not set(answers) & set(choices):
        raise ValueError(f"{where}: none of the choices {choices} is an answer; mend the row or unset task.choices")
    return next((i for i, choice in enumerate(choices) if choice in answers), 0)
