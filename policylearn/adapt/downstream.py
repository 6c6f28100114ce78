"""The label task on a trained encoder: dev selects, test is read once, when nothing is left to choose."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from policylearn.adapt.answering import answer_score, tune_answers
from policylearn.adapt.outer import extract
from policylearn.adapt.training import METRICS, predicted
from policylearn.adapt.tuning import learn_masks, tune
from policylearn.config import parts_of
from policylearn.data.questions import Questions
from policylearn.models.model import InnerModel
from policylearn.problem import Examples, Problem

REGULARISATION = (0.001, 0.01, 0.1, 1.0, 10.0)

Predict = Callable[[Examples], np.ndarray]
"""Labelled texts → class indices, [N]."""


@dataclass(frozen=True)
class Chosen:
    """A classifier that dev has chosen: its score there, and what it says of other texts."""

    dev: float
    predict: Predict


@dataclass(frozen=True)
class Answering:
    """A model that dev has chosen to answer questions with: its score there, and how it is scored on others."""

    dev: float
    score: Callable[[Questions], float]


@dataclass(frozen=True)
class Scores:
    """Scores of a classifier, or means of several: on dev, on test, and on further test splits by name."""

    dev: float
    test: float
    extra: dict[str, float]


class FrozenFeatures:
    """Features of a model that does not change any more: of every text when first asked for, and once."""

    def __init__(self, problem: Problem, model: InnerModel) -> None:
        self.problem, self.model = problem, model
        self._kept: dict[int, tuple[Examples, np.ndarray, np.ndarray]] = {}

    def __call__(self, split: Examples, rows: np.ndarray | None = None) -> np.ndarray:
        """[len(rows), d] of some texts of a split, or of all."""
        rows = np.arange(len(split)) if rows is None else rows
        if id(split) not in self._kept:  # which is kept as well, so that no other takes its id
            self._kept[id(split)] = split, np.zeros(len(split), bool), np.zeros((len(split), 0), np.float32)
        _, known, x = self._kept[id(split)]
        if len(new := np.unique(rows[~known[rows]])):
            with torch.no_grad():
                found = self._extracted(split, new)
            x = x if x.size else np.zeros((len(split), found.shape[1]), found.dtype)
            x[new], known[new] = found, True
            self._kept[id(split)] = split, known, x
        return x[rows]

    def _extracted(self, split: Examples, rows: np.ndarray) -> np.ndarray:
        problem = self.problem
        return extract(self.model, split, rows, problem.tokenizer.pad_token_id, problem.watch).cpu().numpy()


def score(features: FrozenFeatures, methods: Sequence[str], seed: int) -> dict[str, Scores]:
    """Adapt a model to the label task in several ways and score each, averaged over labelled subsets; the model stays
    as it is.

    Args:
        features: of the encoder, with the task.
        methods: entries of `evaluate.downstream`.
        seed: of the labelled subsets and of fine-tuning.
    """
    return {method: _mean_score(features, method, seed) for method in methods}


def _mean_score(features: FrozenFeatures, method: str, seed: int) -> Scores:
    problem, (adapt, labelled) = features.problem, parts_of(method)
    picks = subsets(problem, seed, labelled)
    parts = [score_chosen(problem, METHODS[adapt](features, picked, seed)) for picked in picks]
    extra = {name: float(np.mean([part.extra[name] for part in parts])) for name in parts[0].extra}
    return Scores(float(np.mean([p.dev for p in parts])), float(np.mean([p.test for p in parts])), extra)


def subsets(problem: Problem, seed: int, labelled: int | None = None) -> Iterator[np.ndarray]:
    """Which training examples have their labels: all, or `evaluate.subsets` draws of so many of them; None: as
    `evaluate.labelled` says."""
    examples, config = len(problem.labelled("train")), problem.config.evaluate
    labelled = labelled or config.labelled
    if labelled is None:
        yield np.arange(examples)
        return
    for number in range(config.subsets):
        yield np.random.default_rng([seed, number] if number else seed).permutation(examples)[:labelled]


def score_chosen(problem: Problem, chosen: Chosen | Answering) -> Scores:
    """What dev has chosen, on the test splits."""
    with problem.test_is_open():
        tests = {name: _score_on(problem, chosen, name) for name in ("test", *problem.config.task.extra_tests)}
    return Scores(chosen.dev, tests.pop("test"), tests)


def _score_on(problem: Problem, chosen: Chosen | Answering, name: str) -> float:
    if isinstance(chosen, Answering):
        return chosen.score(problem.questions(name))
    split = problem.examples(name)
    return METRICS[problem.config.task.metric](split.y.numpy(), chosen.predict(split))


def probe(features: FrozenFeatures, picked: np.ndarray, seed: int) -> Chosen:
    """Logistic regression on frozen features; dev selects its regularisation."""
    problem = features.problem
    metric, train, dev = METRICS[problem.config.task.metric], problem.examples("train"), problem.examples("dev")
    x, y = features(train, picked), train.y[picked].numpy()
    fits = [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)).fit(x, y) for c in REGULARISATION]
    scores = [metric(dev.y.numpy(), fit.predict(features(dev))) for fit in fits]
    best = fits[int(np.argmax(scores))]
    return Chosen(max(scores), lambda split: best.predict(features(split)))


def fine_tune(features: FrozenFeatures, picked: np.ndarray, seed: int) -> Chosen | Answering:
    """All of the encoder and a linear head, or of an encoder–decoder, by AdamW; dev selects the epoch."""
    if features.problem.config.task.answers is not None:
        found, answerer = tune_answers(features.problem, features.model, picked, seed)
        return Answering(found, partial(answer_score, features.problem, answerer))
    dev, tuned = tune(features.problem, features.model, picked, seed)
    return Chosen(dev, partial(predicted, features.problem, tuned))


def weight_mask(features: FrozenFeatures, picked: np.ndarray, seed: int) -> Chosen:
    """Binary masks of the encoder's weights and a linear head, the weights being frozen; dev selects the epoch."""
    dev, tuned = learn_masks(features.problem, features.model, picked, seed)
    return Chosen(dev, partial(predicted, features.problem, tuned))


METHODS: dict[str, Callable[[FrozenFeatures, np.ndarray, int], Chosen | Answering]] = {
    "probe": probe,
    "finetune": fine_tune,
    "weight_mask": weight_mask,
}
