"""Closed-book questions as the downstream task: an encoder–decoder fine-tuned on answers, and its scores."""

import copy
import math
import re
import string
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from policylearn.adapt.answers import AnswerWeights
from policylearn.adapt.closed_book import answer_losses
from policylearn.adapt.training import adamw, train_best
from policylearn.data.questions import Questions, answered
from policylearn.messages.watch import UNSEEN_PROGRESS, Progress
from policylearn.models.chunks import in_chunks
from policylearn.models.model import InnerModel
from policylearn.problem import Problem

BATCH = 64
"""Questions answered at once."""


def tune_answers(
    problem: Problem, model: InnerModel, picked: np.ndarray, seed: int, progress: Progress = UNSEEN_PROGRESS
) -> tuple[float, InnerModel]:
    """A copy of the model fine-tuned on the answers to the picked training questions, and its dev score."""
    config, train, pad = problem.config.evaluate.finetune, problem.questions("train"), problem.tokenizer.pad_token_id
    tuned, loss = copy.deepcopy(model), AnswerWeights()

    def loss_of(rows: list[int]) -> Tensor:
        batch = train.batch(rows, pad)
        return loss(tuned, batch, loss.inputs(batch, next(tuned.parameters())))

    def dev_score() -> float:
        return answer_score(problem, tuned, problem.questions("dev"))

    return train_best(tuned, loss_of, dev_score, adamw(tuned, config), config, picked, seed, progress), tuned


def answer_score(problem: Problem, model: InnerModel, questions: Questions) -> float:
    """The metric of the task on a split."""
    with torch.no_grad():
        return ANSWER_METRICS[problem.config.task.metric](problem, model, questions)


def likelihood(problem: Problem, model: InnerModel, questions: Questions) -> float:
    """exp(Σ log p(answer | question) / tokens): the geometric mean over tokens of the answers to be learned."""
    every = np.arange(len(questions))
    losses = answer_losses(model, questions, every, problem.tokenizer.pad_token_id)
    return math.exp(-losses.sum().item() / int(questions.tokens(every).sum()))


def exact_match(problem: Problem, model: InnerModel, questions: Questions) -> float:
    """Share of questions whose answer, written greedily, is one of those accepted once both are `plain`."""
    written = write_answers(problem, model, questions)
    pairs = zip(written, questions.accepted, strict=True)
    return float(np.mean([plain(answer) in set(map(plain, accepted)) for answer, accepted in pairs]))


def write_answers(problem: Problem, model: InnerModel, questions: Questions) -> list[str]:
    """What the model answers, token by token the likeliest."""
    tokenizer, length = problem.tokenizer, problem.config.task.answer_length
    device, written = next(model.parameters()).device, [""] * len(questions)
    for rows in questions.rows.by_length(BATCH):
        ids, real = (x.to(device) for x in questions.rows.batch(rows, tokenizer.pad_token_id))
        settings = {"attention_mask": real.long(), "max_new_tokens": length, "num_beams": 1, "do_sample": False}
        found = model.mlm.generate(ids, **settings)  # type: ignore[operator]  # the stubs take it for a tensor
        for row, answer in zip(rows, tokenizer.batch_decode(found, skip_special_tokens=True), strict=True):
            written[row] = answer
    return written


def choice(problem: Problem, model: InnerModel, questions: Questions) -> float:
    """Share of questions whose likeliest choice, per token, is an answer."""
    losses, lengths = choice_losses(problem, model, questions), np.diff(questions.choices.offsets)
    per_token = np.split(losses / lengths, questions.first[1:-1])
    return float(np.mean([found.argmin() == right for found, right in zip(per_token, questions.right, strict=True)]))


def choice_losses(problem: Problem, model: InnerModel, questions: Questions) -> np.ndarray:
    """-log p(choice | question) of every choice, [choices]."""
    asked, pad = questions.asked, problem.tokenizer.pad_token_id

    def batch(rows: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        found = answered(questions.rows, questions.choices, asked[rows].tolist(), rows, pad)
        return found.input_ids, found.real, found.answers

    lengths = np.diff(questions.rows.offsets)[asked] + np.diff(questions.choices.offsets)
    with torch.no_grad():
        losses = in_chunks(lambda *text: model(*text[:2], answers=text[2]), batch, np.arange(len(asked)), lengths)
    return losses.cpu().numpy()


def plain(answer: str) -> str:
    """Small letters, without punctuation, articles and spaces that say nothing (Rajpurkar et al., 2016).

    >>> plain("The  Bahamas!"), plain("a U.S. state")
    ('bahamas', 'us state')
    """
    letters = "".join(c for c in answer.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", letters).split())


ANSWER_METRICS: dict[str, Callable[[Problem, InnerModel, Questions], float]] = {
    "likelihood": likelihood,
    "exact_match": exact_match,
    "choice": choice,
}
