"""Kinds of task by name: how their rows are read, described and tokenised, and what they are to adaptations."""

from collections.abc import Callable, Iterable

import torch
from transformers import PreTrainedTokenizerBase

from policylearn.config import Config, TaskConfig
from policylearn.data.overview import describe_questions, describe_task
from policylearn.data.questions import Questions, QuestionTask, read_questions, tokenize_questions
from policylearn.data.task import Task as LabelTask
from policylearn.data.task import load_task
from policylearn.data.tokens import tokenize
from policylearn.protocols import Kind
from policylearn.tasks.classification import Classification
from policylearn.tasks.labelled import Examples, Labelled
from policylearn.tasks.questions import ClosedBook
from policylearn.tasks.regression import Regression, numbers

Task = LabelTask | QuestionTask
Split = Examples | Questions


def read_task(config: TaskConfig) -> Task:
    """All splits as they are in files. ValueError: as of `load_task` and `read_questions`."""
    return read_questions(config) if config.kind == "questions" else load_task(config)


def describe(task: Task) -> list[str]:
    """The task in a few lines."""
    return describe_questions(task) if isinstance(task, QuestionTask) else describe_task(task)


def tokenize_split(
    config: Config,
    read: object,
    labels: list[str],
    tokenizer: PreTrainedTokenizerBase,
    watch: Callable[[Iterable[str]], Iterable[str]],
) -> Split:
    """One split, tokenised.

    Args:
        config: names kind and lengths.
        read: of `Task.splits`.
        labels: the label set.
        tokenizer: a fast one.
        watch: shows texts while they flow.
    """
    length = config.model.max_length
    if config.task.kind == "questions":
        return tokenize_questions(read, tokenizer, length, config.task.answer_length)  # type: ignore[arg-type]
    rows = tokenize(watch(read.texts), tokenizer, length)  # type: ignore[attr-defined]
    found = read.labels  # type: ignore[attr-defined]
    if config.task.kind == "regression":
        return Examples(rows, numbers(found))
    return Examples(rows, torch.tensor([labels.index(label) for label in found]))


def kind_of(
    config: TaskConfig, tokenizer: PreTrainedTokenizerBase, labels: list[str], read: Callable[[str], Split]
) -> Kind:
    """What the task of a config is to adaptations; `read` gives a tokenised split."""
    pad_id = tokenizer.pad_token_id
    if config.kind == "questions":
        return ClosedBook(tokenizer, config.metric, config.answer_length)
    if config.kind == "regression":
        train = read("train")
        assert isinstance(train, Examples)
        return Labelled(config.kind, Regression(train.y), config.metric, pad_id)
    return Labelled(config.kind, Classification(len(labels)), config.metric, pad_id)
