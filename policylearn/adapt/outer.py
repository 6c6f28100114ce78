"""Adaptation to the label task: how good is θ for it? The outer loss of a window, and the dev score of a rollout."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from policylearn.adapt.closed_book import Note, answer_tuning, dev_likelihood
from policylearn.adapt.finetune import FineTuning, LabelledBatch, LabelWeights, ridge_head, rows_of_steps
from policylearn.adapt.probe import outer_loss
from policylearn.adapt.weight_mask import MaskTuning
from policylearn.config import OuterConfig
from policylearn.data.questions import Questions
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.models.chunks import Indices, in_chunks
from policylearn.models.model import Features, InnerModel
from policylearn.problem import Examples, Problem
from policylearn.weight_masks.masks import initial_scores
from policylearn.weight_masks.selection import maskable

Split = tuple[np.ndarray, np.ndarray]
"""Support and query."""


def support_and_query(config: OuterConfig, examples: int, key: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Disjoint support and query examples out of so many, drawn by `key`; at most half of them are support.

    >>> [part.tolist() for part in support_and_query(OuterConfig(support=4, query=2), 5, [0])]
    [[2, 4], [3, 0]]
    """
    picked = np.random.default_rng(key).permutation(examples)
    support = min(config.support, len(picked) // 2)
    return picked[:support], picked[support : support + config.query]


def fold(y: np.ndarray, folds: int, rng: np.random.Generator) -> Iterator[Split]:
    """(support, query) of every fold, each class spread over all of them: an example is query once, else support.

    >>> [query.tolist() for _, query in fold(np.array([0, 0, 1, 1]), 2, np.random.default_rng(0))]
    [[1, 3], [0, 2]]
    """
    part = np.empty(len(y), dtype=np.int64)
    part[np.lexsort((rng.random(len(y)), y))] = np.arange(len(y)) % folds
    for number in range(folds):
        yield np.flatnonzero(part != number), np.flatnonzero(part == number)


def outer_problem(problem: Problem, key: Sequence[int], note: Note) -> "ProbeLoss | FineTuning | MaskTuning":
    """The outer loss by the adaptation of the config, on training examples drawn by `key`.

    Args:
        problem: data.
        key: integers, not negative.
        note: is told `outer_loss` and `outer_accuracy` of every evaluation.
    """
    config = problem.config.outer
    if problem.config.task.answers is not None:
        return answer_tuning(problem, *support_and_query(config, len(problem.questions("train")), key), note)
    y = problem.examples("train").y
    support, query = support_and_query(config, len(y), key)
    if config.adaptation == "finetune":
        return fine_tuning(problem, support, query, note)
    if config.adaptation == "weight_mask":
        return mask_tuning(problem, support, query, key, note)
    picked, split = np.concatenate([support, query]), len(support)
    splits = [(np.arange(split), np.arange(split, len(picked)))]
    if config.folds > 1:
        splits = list(fold(y[picked].numpy(), config.folds, np.random.default_rng([*key, 1])))
    return ProbeLoss(problem, picked, y[picked], splits, note)


class ProbeLoss:
    """The outer loss by ridge probes: its mean over splits of the same examples into support and query.

    Features are computed once for all splits, and so is their gradient: what a further split costs is a few small
    linear systems.

    Args:
        problem: data.
        picked: [N] training examples.
        y: [N] their labels, or others.
        splits: (support, query), each positions among the N.
        note: is told `outer_loss` and `outer_accuracy` of every evaluation.
    """

    def __init__(
        self, problem: Problem, picked: Indices, y: Tensor, splits: Sequence[Split], note: Note = lambda **_: None
    ) -> None:
        self.problem, self.picked, self.y, self.splits, self.note = problem, picked, y, splits, note

    def __call__(self, model: Features) -> Tensor:
        """The loss under a model's features, differentiable."""
        return self.loss(self.features(model))

    def features(self, model: Features) -> Tensor:
        """[N, d], differentiable."""
        return extract(model, self.problem.examples("train"), self.picked, self.problem.tokenizer.pad_token_id)

    def loss(self, x: Tensor) -> Tensor:
        """The loss of features [N, d]."""
        y, classes = self.y.to(x.device), len(self.problem.labels)
        fits = [outer_loss(x[s], y[s], x[q], y[q], classes) for s, q in self.splits]
        loss = torch.stack([fit.loss for fit in fits]).mean()
        self.note(outer_loss=loss.item(), outer_accuracy=float(np.mean([fit.accuracy for fit in fits])))
        return loss


def fine_tuning(problem: Problem, support: Indices, query: Indices, note: Note) -> FineTuning:
    """The outer loss by fine-tuning. Its `query` raises FloatingPointError where the loss is NaN or infinite."""
    head, loss = partial(_head, problem, support), partial(_query_loss, problem, query, note)
    return FineTuning.of(problem.config.outer, support_batches(problem, support), LabelWeights(), head, loss)


def mask_tuning(problem: Problem, support: Indices, query: Indices, key: Sequence[int], note: Note) -> MaskTuning:
    """The outer loss by weight masks: steps as in `fine_tuning`, of scores whose initial values are drawn by `key`.

    Raises FloatingPointError where the loss is NaN or infinite.
    """
    config, seed = problem.config.outer, int(np.random.SeedSequence([*key, 2]).generate_state(1)[0])

    def scores(model: nn.Module) -> dict[str, Tensor]:
        assert isinstance(model, InnerModel)
        return initial_scores(maskable(model, config.first_layer), config.sparsity, seed)

    head, loss = partial(_head, problem, support), partial(_query_loss, problem, query, note)
    batches = support_batches(problem, support)
    return MaskTuning(batches, config.mask_rate, scores, head, loss, config.first_order)


def support_batches(problem: Problem, support: Indices) -> list[LabelledBatch]:
    """Of `rows_of_steps`."""
    train, pad = problem.examples("train"), problem.tokenizer.pad_token_id
    steps = rows_of_steps(problem.config.outer, support)
    return [LabelledBatch(*train.rows.batch(rows, pad), train.y[rows]) for rows in steps]


def _head(problem: Problem, support: Indices, features: Features) -> tuple[Tensor, Tensor]:
    """Where the head starts: `ridge_head` of the support examples."""
    train = problem.examples("train")
    x = extract(features, train, support, problem.tokenizer.pad_token_id)
    return ridge_head(x, train.y[support].to(x.device), len(problem.labels))


def _query_loss(problem: Problem, query: Indices, note: Note, classifier: Features) -> Tensor:
    train = problem.examples("train")
    logits = extract(classifier, train, query, problem.tokenizer.pad_token_id)
    y = train.y[query].to(logits.device)
    found = cross_entropy(logits, y)
    if not torch.isfinite(found):
        rate = "mask_rate" if problem.config.outer.adaptation == "weight_mask" else "learning_rate"
        raise FloatingPointError(f"the outer loss became {found.item()}: lower outer.{rate}")
    note(outer_loss=found.item(), outer_accuracy=(logits.argmax(1) == y).float().mean().item())
    return found


def extract(
    features: Features, examples: Examples | Questions, picked: Indices, pad_id: int, watch: Watch = UNSEEN
) -> Tensor:
    """Features of the picked examples, [len(picked), d], see `in_chunks`."""
    lengths = [len(examples.rows[int(i)]) for i in picked]
    return in_chunks(features, partial(examples.rows.batch, pad_id=pad_id), picked, lengths, watch)


def dev_score(problem: Problem, model: InnerModel) -> float:
    """Accuracy on dev of the ridge probe fitted on train: how good θ has become for the task. Where it is to answer
    questions, see `closed_book.dev_likelihood`."""
    if problem.config.task.answers is not None:
        return dev_likelihood(problem, model)
    pad = problem.tokenizer.pad_token_id
    train, dev = problem.examples("train"), problem.examples("dev")
    with torch.no_grad():
        x, y = (extract(model, split, range(len(split)), pad) for split in (train, dev))
        return outer_loss(x, train.y.to(x.device), y, dev.y.to(x.device), len(problem.labels)).accuracy
