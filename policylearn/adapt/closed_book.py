"""θ on closed-book questions: the outer loss of a window, and the dev score of a rollout.

There is no head to fit: the encoder–decoder itself learns to answer, in a few steps on support questions, and the loss
is that of the answers to query questions.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from policylearn.adapt.answers import AnswerWeights
from policylearn.adapt.finetune import FineTuning, rows_of_steps
from policylearn.data.questions import Questions
from policylearn.models.chunks import Indices, in_chunks
from policylearn.models.model import InnerModel
from policylearn.problem import Problem

Note = Callable[..., None]
"""Is told numbers by name."""


def answer_tuning(problem: Problem, support: Indices, query: Indices, note: Note) -> FineTuning:
    """The outer loss by fine-tuning on answers. Its `query` raises FloatingPointError where the loss is NaN or
    infinite."""
    return _tuning(problem, support, partial(_query_loss, problem, problem.questions("train"), query, note))


def _tuning(problem: Problem, support: Indices, query: Callable[..., Tensor]) -> FineTuning:
    config, train, pad = problem.config.outer, problem.questions("train"), problem.tokenizer.pad_token_id
    batches = [train.batch(rows, pad) for rows in rows_of_steps(config, support)]
    return FineTuning.of(config, batches, AnswerWeights(), None, query)


def _query_loss(
    problem: Problem, questions: Questions, query: Indices, note: Note, model: Callable[..., Tensor]
) -> Tensor:
    """-log p of the answers to the query questions, per token; what is noted as accuracy is a token's likelihood."""
    pad = problem.tokenizer.pad_token_id
    losses = answer_losses(model, questions, query, pad)
    found = losses.sum() / int(questions.tokens(query).sum())
    if not torch.isfinite(found):
        raise FloatingPointError(f"the outer loss became {found.item()}: lower outer.learning_rate")
    note(outer_loss=found.item(), outer_accuracy=math.exp(-found.item()))
    return found


def answer_losses(model: Callable[..., Tensor], questions: Questions, picked: Indices, pad_id: int) -> Tensor:
    """-log p(answer | question) of the picked questions, [len(picked)], differentiable."""
    lengths = [len(questions.rows[int(i)]) + len(questions.answers[int(i)]) for i in picked]

    def batch(rows: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        found = questions.batch(rows, pad_id)
        return found.input_ids, found.real, found.answers

    return in_chunks(lambda ids, real, answers: model(ids, real, answers=answers), batch, picked, lengths)


def dev_likelihood(problem: Problem, model: InnerModel) -> float:
    """Likelihood of a token of the dev answers, the geometric mean, after fine-tuning as in the outer loss, on the same
    training questions whenever it is asked for: how good θ has become for the task."""
    dev, train = problem.questions("dev"), problem.questions("train")
    support = np.random.default_rng(0).permutation(len(train))[: problem.config.outer.support]
    query = partial(_query_loss, problem, dev, np.arange(len(dev)), lambda **_: None)
    return math.exp(-_tuning(problem, support, query)(model).item())
