"""Closed-book questions: an encoder–decoder that answers by heart. There is no head, the model itself learns."""

import copy
import math
import re
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from policylearn.data.overview import describe_questions
from policylearn.data.questions import AnsweredBatch, Questions, answered, read_questions, tokenize_questions
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.models.chunks import Indices, in_chunks
from policylearn.models.model import InnerModel
from policylearn.models.whole import given_to_decoder
from policylearn.tasks.kind import TaskKind

BATCH = 64
"""Questions answered at once."""


class AnswerWeights:
    """The loss of the answers given the questions, per token; x are the weights of the B questions, all 1."""

    def inputs(self, batch: AnsweredBatch, like: Tensor) -> Tensor:
        """Ones [B]."""
        return like.new_ones(len(batch.answers))

    def __call__(self, model: Callable[..., Tensor], batch: AnsweredBatch, x: Tensor) -> Tensor:
        """Σ_i x_i · -log p(answer_i | question_i) / tokens of all answers."""
        return (x * model(batch.input_ids, batch.real, answers=batch.answers)).sum() / batch.tokens

    def parts(self, batch: AnsweredBatch, x: Tensor, rows: int) -> Iterator[tuple[AnsweredBatch, Tensor, float]]:
        """Rows with their weights, and their share of the tokens."""
        for first in range(0, len(x), rows):
            tensors = (tensor[first : first + rows] for tensor in (batch.input_ids, batch.real, batch.answers))
            part = AnsweredBatch(*tensors)
            yield part, x[first : first + rows], part.tokens / batch.tokens


class ClosedBook:
    """The `Kind` of questions.

    Args:
        tokenizer: of the model.
        metric: the name of a method below.
        length: tokens of an answer.
    """

    name, readout = "questions", None

    def __init__(self, tokenizer: PreTrainedTokenizerBase, metric: str, length: int) -> None:
        self.tokenizer, self.length = tokenizer, length
        self._forms: dict[str, set[str]] = {}
        self.step_loss, self.pad_id = AnswerWeights(), tokenizer.pad_token_id
        self.metric: Callable[[InnerModel, Questions], float] = getattr(self, metric)

    def batch(self, split: Questions, rows: Sequence[int]) -> AnsweredBatch:
        """Some questions with the answers to be learned."""
        return split.batch(rows, self.pad_id)

    def training_loss(self, model: InnerModel, split: Questions, rows: list[int]) -> Tensor:
        """-log p of the answers, per token."""
        batch = self.batch(split, rows)
        return self.step_loss(model, batch, self.step_loss.inputs(batch, next(model.parameters())))

    def query_loss(self, model: Callable[..., Tensor], split: Questions, picked: Indices) -> tuple[Tensor, float]:
        """The same of the picked questions, and the likelihood of a token."""
        losses = answer_losses(model, split, picked, self.pad_id)
        found = losses.sum() / int(split.tokens(picked).sum())
        return found, math.exp(-found.item())

    def score(self, model: InnerModel, split: Questions, watch: Watch = UNSEEN) -> float:
        """The metric of the task on a split."""
        with torch.no_grad():
            return self.metric(model, split)

    def likelihood(self, model: InnerModel, questions: Questions) -> float:
        """exp(Σ log p(answer | question) / tokens): the geometric mean over tokens of the answers to be learned."""
        every = np.arange(len(questions))
        losses = answer_losses(model, questions, every, self.pad_id)
        return math.exp(-losses.sum().item() / int(questions.tokens(every).sum()))

    def exact_match(self, model: InnerModel, questions: Questions) -> float:
        """Share of questions whose answer, written greedily, is one of those accepted once both are `plain`, as spelt
        or as the tokenizer gives it back (BERT's makes twenty-one three words); a blank one never is."""
        self._add_forms(questions.accepted)
        pairs = zip(map(plain, self.write_answers(model, questions)), questions.accepted, strict=True)
        return float(np.mean([any(said in self._forms[one] for one in accepted) for said, accepted in pairs]))

    def _add_forms(self, accepted: Iterable[list[str]]) -> None:
        """Know the `plain` forms of these answers as well: once, for a split is scored after every epoch."""
        if not (new := sorted({*chain.from_iterable(accepted)} - self._forms.keys())):
            return
        tokens = self.tokenizer(new)["input_ids"]
        given_back = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        for answer, ids, back in zip(new, tokens, given_back, strict=True):
            known = self.tokenizer.unk_token_id not in ids  # else what is unknown would be left out
            self._forms[answer] = {plain(answer), plain(back if known else answer)} - {""}

    def choice(self, model: InnerModel, questions: Questions) -> float:
        """Share of questions whose likeliest choice, per token, is an answer."""
        losses, lengths = choice_losses(model, questions, self.pad_id), np.diff(questions.choices.offsets)
        per_token = np.split(losses / lengths, questions.first[1:-1])
        likeliest = questions.first[:-1] + [found.argmin() for found in per_token]
        return float(questions.right[likeliest].mean())

    def write_answers(self, model: InnerModel, questions: Questions) -> list[str]:
        """What the model answers, token by token the likeliest."""
        device, written = next(model.parameters()).device, [""] * len(questions)
        writer: Any = copy.copy(model.mlm)  # the same modules: generate() takes from the model what it is not told
        writer.generation_config = greedy(model.mlm, self.length, self._first_token(model.mlm, questions))
        for rows in questions.rows.by_length(BATCH):
            ids, real = (x.to(device) for x in questions.rows.batch(rows, self.pad_id))
            found = writer.generate(ids, attention_mask=real.long(), generation_config=writer.generation_config)
            for row, answer in zip(rows, self.tokenizer.batch_decode(found, skip_special_tokens=True), strict=True):
                written[row] = answer
        return written

    def _first_token(self, model: PreTrainedModel, questions: Questions) -> int:
        """Where the decoder begins when it learns: mBART with the last token of an answer, which names its language."""
        first = given_to_decoder(model, self.batch(questions, range(len(questions))).answers)[:, 0].unique()
        if len(first) > 1:
            raise ValueError(
                f"model type {model.config.model_type!r} begins with the last token of an answer, and answers end with "
                f"{len(first)}: set model.tokenizer to one that ends all with the same"
            )
        return int(first)


def greedy(model: PreTrainedModel, length: int, first: int) -> GenerationConfig:
    """Token by token the likeliest, after the token `first`: nothing else of a checkpoint's own settings, such as a
    shortest length or tokens that are not to be repeated."""
    own: Any = model.generation_config
    return GenerationConfig(
        decoder_start_token_id=first,
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id,
        max_new_tokens=length,
    )


def answer_losses(model: Callable[..., Tensor], questions: Questions, picked: Indices, pad_id: int) -> Tensor:
    """-log p(answer | question) of the picked questions, [len(picked)], differentiable."""
    lengths = [len(questions.rows[int(i)]) + len(questions.answers[int(i)]) for i in picked]

    def batch(rows: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        found = questions.batch(rows, pad_id)
        return found.input_ids, found.real, found.answers

    return in_chunks(lambda ids, real, answers: model(ids, real, answers=answers), batch, picked, lengths)


def choice_losses(model: Callable[..., Tensor], questions: Questions, pad_id: int) -> np.ndarray:
    """-log p(choice | question) of every choice, [choices]."""
    asked = questions.asked

    def batch(rows: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        found = answered(questions.rows, questions.choices, asked[rows].tolist(), rows, pad_id)
        return found.input_ids, found.real, found.answers

    lengths = np.diff(questions.rows.offsets)[asked] + np.diff(questions.choices.offsets)
    with torch.no_grad():
        losses = in_chunks(lambda *text: model(*text[:2], answers=text[2]), batch, np.arange(len(asked)), lengths)
    return losses.cpu().numpy()


def plain(answer: str) -> str:
    """Small letters, without punctuation, articles and spaces that say nothing (Rajpurkar et al., 2016), but with what
    is all there is of them: else the answers A and The would be that of whoever answers nothing.

    >>> plain("The  Bahamas!"), plain("a U.S. state"), plain("A."), plain("+")
    ('bahamas', 'us state', 'a', '+')
    """
    letters = "".join(c for c in answer.lower() if c not in string.punctuation)
    forms = re.sub(r"\b(a|an|the)\b", " ", letters), letters, answer.lower()
    return next((form for form in (" ".join(form.split()) for form in forms) if form), "")


KIND = TaskKind(
    ("likelihood", "exact_match", "choice"),
    read_questions,
    describe_questions,
    lambda config, task, split, tokenizer, shown: tokenize_questions(
        task.splits[split], tokenizer, config.model.max_length, config.task.answer_length
    ),
    lambda config, task, tokenizer, train: ClosedBook(tokenizer, config.metric, config.answer_length),
)
