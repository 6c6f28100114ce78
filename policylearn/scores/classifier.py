"""A classifier of the task on frozen features of θ₀: scorers ask it which tokens the label depends on."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policylearn.data.tokens import TokenRows
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.models.model import Features
from policylearn.scores.sources import Sources

BATCH = 64
PENALTY = 0.03
"""C of the logistic regression: strong, since there are often as many features as texts."""


@dataclass(frozen=True)
class TextClassifier:
    """P(y | text) = softmax(weight · (features − mean) / scale + bias), over C classes and d features.

    Attributes:
        model: θ₀; its features are the mean of the last hidden states.
        mean, scale: [d].
        weight: [C, d].
        bias: [C].
    """

    model: Features
    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, input_ids: Tensor, real: Tensor) -> Tensor:
        """log P(y | text), [B, C], of tokenised texts [B, T], `real` where they are no padding."""
        features = self.model(input_ids, real)
        return (((features - self.mean) / self.scale) @ self.weight.T + self.bias).log_softmax(1)


def some_labelled(sources: Sources) -> tuple[TokenRows, Tensor]:
    """At most `scores.model_texts` labelled texts, evenly spaced, and their classes, numbered 0 to C − 1.

    Raises:
        ValueError: they all have the same label.
    """
    rows, _, y = spread_classes(*sources.labelled(), sources.config.model_texts)
    return rows, y


def spread_classes(
    rows: TokenRows, y: Tensor, most: int, what: str = "labelled texts"
) -> tuple[TokenRows, Tensor, Tensor]:
    """At most so many of N texts with their classes y [N], evenly spaced: (texts, the C classes that they have,
    theirs as numbers 0 to C − 1).

    Raises:
        ValueError: they all have the same label.
    """
    picked = rows.spread(most)
    classes, numbered = y[torch.from_numpy(picked)].unique(return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"all {len(picked)} {what} looked at have the same label: raise scores.model_texts")
    return rows.take(picked), classes, numbered


def by_classifier(rows: TokenRows) -> str:
    """What scores owe themselves to that are taken from a classifier of these texts, in words."""
    return f"from a classifier of {len(rows):,} labelled texts of train"


def fit_classifier(model: Features, rows: TokenRows, y: Tensor, pad_id: int, watch: Watch = UNSEEN) -> TextClassifier:
    """Logistic regression on standardised features of θ₀, with an L2 penalty.

    Args:
        model: θ₀, left as it is.
        rows: N texts.
        y: [N] classes, each of 0 to C − 1 there.
        pad_id: padding token.
        watch: shows how far it is.
    """
    from sklearn.linear_model import LogisticRegression

    features = text_features(model, rows, pad_id, watch)
    mean, scale = features.mean(0), features.var(0).clamp(min=1e-8).sqrt()
    fit = LogisticRegression(C=PENALTY, max_iter=1000).fit(((features - mean) / scale).numpy(), y.numpy())
    weight, bias = fit.coef_, fit.intercept_
    if len(weight) == 1:  # two classes: scikit-learn gives the logit of the second against the first
        weight, bias = np.stack([0 * weight[0], weight[0]]), np.array([0.0, bias[0]])
    return TextClassifier(model, mean, scale, torch.from_numpy(weight).to(mean), torch.from_numpy(bias).to(mean))


def text_features(model: Features, rows: TokenRows, pad_id: int, watch: Watch = UNSEEN) -> Tensor:
    """Features [N, d] of N texts, without gradients."""
    batches = rows.by_length(BATCH)
    with torch.no_grad():
        watched = watch("features of labelled texts", batches, len(rows), size=len)
        parts = [model(*rows.batch(picked, pad_id)) for picked in watched]
    return torch.cat(parts)[torch.from_numpy(np.concatenate(batches)).argsort()]
