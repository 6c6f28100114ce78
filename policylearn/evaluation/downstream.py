"""The label task on a trained encoder: dev selects, test is read once, when nothing is left to choose."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from policylearn.adaptation import extract
from policylearn.evaluation.training import METRICS, predicted
from policylearn.evaluation.tuning import learn_masks, tune
from policylearn.inner.model import InnerModel
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
class Scores:
    """Scores of a classifier, or means of several: on dev, on test, and on further test splits by name."""

    dev: float
    test: float
    extra: dict[str, float]


def score(problem: Problem, model: InnerModel, method: str, seed: int) -> Scores:
    """Adapt a model to the label task and score it, for every labelled subset; the model stays as it is.

    Args:
        problem: holds the task.
        model: the encoder.
        method: of `METHODS`.
        seed: of the labelled subsets and of fine-tuning.
    """
    parts = [score_chosen(problem, METHODS[method](problem, model, picked, seed)) for picked in subsets(problem, seed)]
    extra = {name: float(np.mean([part.extra[name] for part in parts])) for name in parts[0].extra}
    return Scores(float(np.mean([p.dev for p in parts])), float(np.mean([p.test for p in parts])), extra)


def subsets(problem: Problem, seed: int) -> Iterator[np.ndarray]:
    """Which training examples have their labels: all, or `evaluate.subsets` draws of `evaluate.labelled` of them."""
    examples, config = len(problem.examples("train")), problem.config.evaluate
    if config.labelled is None:
        yield np.arange(examples)
        return
    for number in range(config.subsets):
        yield np.random.default_rng([seed, number] if number else seed).permutation(examples)[: config.labelled]


def score_chosen(problem: Problem, chosen: Chosen) -> Scores:
    """What dev has chosen, on the test splits."""
    metric = METRICS[problem.config.task.metric]
    with problem.test_is_open():
        splits = {name: problem.examples(name) for name in ("test", *problem.config.task.extra_tests)}
        tests = {name: metric(split.y.numpy(), chosen.predict(split)) for name, split in splits.items()}
    return Scores(chosen.dev, tests.pop("test"), tests)


def probe(problem: Problem, model: InnerModel, picked: np.ndarray, seed: int) -> Chosen:
    """Logistic regression on frozen features; dev selects its regularisation."""
    metric, dev = METRICS[problem.config.task.metric], problem.examples("dev")
    x, y = _features(problem, model, problem.examples("train"), picked), problem.examples("train").y[picked].numpy()
    seen = _features(problem, model, dev)
    fits = [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)).fit(x, y) for c in REGULARISATION]
    scores = [metric(dev.y.numpy(), fit.predict(seen)) for fit in fits]
    best = fits[int(np.argmax(scores))]
    return Chosen(max(scores), lambda split: best.predict(_features(problem, model, split)))


def _features(problem: Problem, model: InnerModel, split: Examples, picked: np.ndarray | None = None) -> np.ndarray:
    rows = np.arange(len(split)) if picked is None else picked
    with torch.no_grad():
        return extract(model, split, rows, problem.tokenizer.pad_token_id).cpu().numpy()


def fine_tune(problem: Problem, model: InnerModel, picked: np.ndarray, seed: int) -> Chosen:
    """All of the encoder and a linear head, by AdamW; dev selects the epoch."""
    dev, tuned = tune(problem, model, picked, seed)
    return Chosen(dev, partial(predicted, problem, tuned))


def weight_mask(problem: Problem, model: InnerModel, picked: np.ndarray, seed: int) -> Chosen:
    """Binary masks of the encoder's weights and a linear head, the weights being frozen; dev selects the epoch."""
    dev, tuned = learn_masks(problem, model, picked, seed)
    return Chosen(dev, partial(predicted, problem, tuned))


METHODS: dict[str, Callable[[Problem, InnerModel, np.ndarray, int], Chosen]] = {
    "probe": probe,
    "finetune": fine_tune,
    "weight_mask": weight_mask,
}
