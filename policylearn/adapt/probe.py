"""Adaptation by a linear probe on features that stay as they are: ridge in closed form, or to the end."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from policylearn.adapt.chosen import Adaptation, Chosen, FrozenFeatures, Note
from policylearn.adapt.ridge import ProbeFit, probe_loss
from policylearn.adapt.splits import Split, fold
from policylearn.messages.watch import UNSEEN_PROGRESS, Progress
from policylearn.models.chunks import Indices
from policylearn.models.model import Features, InnerModel
from policylearn.problems.problem import Problem
from policylearn.protocols import Readout
from policylearn.tasks.kind import metric_of

REGULARISATION = (0.001, 0.01, 0.1, 1.0, 10.0)


class ProbeLoss:
    """The outer loss by ridge probes: its mean over splits of the same examples into support and query.

    Features are computed once for all splits, and so is their gradient: what a further split costs is a few small
    linear systems.

    Args:
        problem: data.
        picked: [N] training examples.
        y: their labels, or others; [N], or of all their words.
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
        """[N, d], or of all words, differentiable."""
        return self.problem.examples("train").outputs(model, self.picked, self.problem.pad_id)

    def loss(self, x: Tensor) -> Tensor:
        """The loss of features [N, d]."""
        fits = [self.fit(x, split) for split in self.splits]
        loss = torch.stack([fit.loss for fit in fits]).mean()
        self.note(outer_loss=loss.item(), outer_accuracy=float(np.mean([fit.quality for fit in fits])))
        return loss

    def slopes(self, x: Tensor) -> Tensor:
        """∂loss/∂x, [N, d], one split after the other: all graphs at once would take the room of a hundred x."""
        total = torch.zeros_like(x)
        for split in self.splits:
            at = x.detach().requires_grad_()
            total += torch.autograd.grad(self.fit(at, split).loss, at)[0]
        return total / len(self.splits)

    def fit(self, x: Tensor, split: Split) -> ProbeFit:
        """The probe of one split."""
        y, train = self.y.to(x.device), self.problem.examples("train")
        s, q = (train.within(self.picked, part) for part in split)
        return probe_loss(x[s], y[s], x[q], y[q], readout_of(self.problem))


def readout_of(problem: Problem) -> Readout:
    """What a probe is to give. ValueError: the task has no head, which the config can tell of questions alone."""
    if (readout := problem.kind.readout) is None:
        raise ValueError(
            f'task.kind "{problem.task.kind}" has no head to probe for: set outer.adaptation and '
            'evaluate.downstream to "finetune"'
        )
    return readout


def outer_loss(problem: Problem, support: Indices, query: Indices, key: Sequence[int], note: Note) -> ProbeLoss:
    """The outer loss of a probe fitted on support examples; of `outer.folds`, both together are dealt into parts."""
    train, folds = problem.examples("train"), problem.config.outer.folds
    picked, split = np.concatenate([support, query]), len(support)
    y = train.y[train.targets_of(picked)]
    splits = [(np.arange(split), np.arange(split, len(picked)))]
    if folds > 1:
        splits = list(fold(train.strata(picked, y), folds, np.random.default_rng([*key, 1])))
    return ProbeLoss(problem, picked, y, splits, note)


def dev_quality(problem: Problem, model: InnerModel) -> float:
    """Quality on dev of the ridge probe fitted on train, of classes its accuracy: how good θ is for the task."""
    pad, train, dev = problem.pad_id, problem.examples("train"), problem.examples("dev")
    with torch.no_grad():
        x, y = (split.outputs(model, range(len(split)), pad) for split in (train, dev))
        return probe_loss(x, train.y.to(x.device), y, dev.y.to(x.device), readout_of(problem)).quality


def fit(features: FrozenFeatures, picked: np.ndarray, seed: int, progress: Progress = UNSEEN_PROGRESS) -> Chosen:
    """A linear model on frozen features of the picked training examples; dev selects its regularisation."""
    from sklearn.pipeline import make_pipeline  # here only: see tasks/logistic.py
    from sklearn.preprocessing import StandardScaler

    problem, readout = features.problem, readout_of(features.problem)
    task, train, dev = problem.task, problem.examples("train"), problem.examples("dev")
    metric = metric_of(task.kind, readout, task.metric)
    x, y, scaler = features(train, picked), train.y[train.targets_of(picked)].numpy(), StandardScaler()
    scaled, scaled_dev = scaler.fit_transform(x), scaler.transform(features(dev))
    fits = [readout.estimator(c).fit(scaled, y) for c in REGULARISATION]
    scores = [dev.measure(metric, fit.predict(scaled_dev)) for fit in fits]
    best = make_pipeline(scaler, fits[int(np.argmax(scores))])
    return Chosen(max(scores), lambda split: split.measure(metric, best.predict(features(split))), best)


ADAPTATION = Adaptation(outer_loss, fit)
