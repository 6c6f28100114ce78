"""Adaptation by weight masks, the weights being frozen: a few differentiated steps of scores, or to the end.

A step moves the scores m of all matrices along the gradient of the classification loss in their masks, as far as the
learning rate η says, root mean square:

    m ← m - η g / rms(g),        g = ∂ℓ(θ ∘ M)/∂M

(The gradient itself would not do: it is orders of magnitude smaller than the range of the scores. Adam's first steps
would not do either: they go by signs, which have no slope.) The head is the ridge solution on the features of θ ∘ M₀
and stays what it is.

The outer loss L(θ ∘ M_n) then reaches θ in three ways: through θ ∘ M_n, through the head, and by way of the scores,
straight through the binarisation. Exactly, a mask has no slope but where it flips. But over initial scores, which are
uniform, the probability that it is set changes by 1 / (s + s₀) per unit of its score, about 1.7 for a sparsity of .05:
that is what the straight line stands for. `first_order` leaves it out, and with it all second derivatives.

How far to go is a matter of η: steps that are too long raise the query loss instead of lowering it, and the gradient by
way of the scores then outgrows the rest and means nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from policylearn.adapt.chosen import Adaptation, Chosen, FrozenFeatures, Note
from policylearn.adapt.finetune import choose_epoch, head_of, query_loss, rows_of_steps
from policylearn.messages.watch import UNSEEN_PROGRESS, Progress
from policylearn.models.chunks import Indices
from policylearn.models.model import Elsewhere, Features, InnerModel
from policylearn.problems.problem import Problem
from policylearn.tasks.labelled import LabelledBatch
from policylearn.weight_masks.classifier import MaskedClassifier
from policylearn.weight_masks.masks import binarise, initial_scores, masked
from policylearn.weight_masks.selection import maskable

Named = Mapping[str, Tensor]
Head = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class MaskTuning:
    """The loss after steps of the scores of weight masks, as a function of the features of θ.

    Attributes:
        batches: what the steps see, one each.
        rate: η, root mean square of what a step adds to the scores.
        scores: those before the first step, by name of the matrix among the model's parameters.
        head: weight and bias of the classifier, differentiable in the features it is given.
        query: the loss, as a function of the classifier, after the last step.
        first_order: whether masks count as constants in the outer gradient.
        loss: of a step, (outputs [B, C], y [B]) → scalar.
    """

    batches: Sequence[LabelledBatch]
    rate: float
    scores: Callable[[nn.Module], Named]
    head: Callable[[Features], Head]
    query: Callable[[Features], Tensor]
    first_order: bool = False
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy

    def __call__(self, features: Features) -> Tensor:
        """The loss, differentiable in the parameters of the model, or in those that an `Elsewhere` puts in their
        place; the model is not changed."""
        at = features if isinstance(features, Elsewhere) else of_module(features)
        scores: Named = {name: m.to(at.parameters[name]) for name, m in self.scores(at.model).items()}
        head = self.head(under(at, {name: binarise(m) for name, m in scores.items()}))
        if self.first_order or not torch.is_grad_enabled():
            with torch.enable_grad():
                scores = self.learned(detached(at), scores, (head[0].detach(), head[1].detach()), constant=True)
        else:
            with sdpa_kernel(SDPBackend.MATH):  # attention that has a second derivative
                scores = self.learned(at, scores, head, constant=False)
        tuned = under(at, {name: binarise(m) for name, m in scores.items()})
        return self.query(lambda *text, **more: classify(tuned, head, *text, **more))

    def learned(self, at: Elsewhere, scores: Named, head: Head, constant: bool) -> Named:
        """The scores after the last step; `constant`: without what they owe to weights and head."""
        for batch in self.batches:
            scores = {name: m.requires_grad_() for name, m in scores.items()}
            tuned = under(at, {name: binarise(m) for name, m in scores.items()})
            logits = classify(tuned, head, batch.input_ids, batch.real, **batch.more)
            loss = self.loss(logits, batch.y.to(logits.device))
            gradients = torch.autograd.grad(
                loss, list(scores.values()), create_graph=not constant, materialize_grads=True
            )  # Longformer's maps of global attention, say, are not used
            size = rms(gradients)
            pairs = zip(scores.items(), gradients, strict=True)
            scores = {name: (m.detach() if constant else m) - self.rate * g / size for (name, m), g in pairs}
        return scores


def of_module(model: Features) -> Elsewhere:
    """A model where it is."""
    assert isinstance(model, nn.Module)
    return Elsewhere(model, dict(model.named_parameters()))


def under(at: Elsewhere, masks: Named) -> Elsewhere:
    """The same model under masks of its matrices: θ ∘ M."""
    return Elsewhere(at.model, masked(at.parameters, masks))


def detached(at: Elsewhere) -> Elsewhere:
    """The same model, with parameters that no gradient reaches."""
    return Elsewhere(at.model, {name: p.detach() for name, p in at.parameters.items()})


def classify(features: Callable[..., Tensor], head: Head, input_ids: Tensor, real: Tensor, **more: Tensor) -> Tensor:
    """Logits [B, C] = features · Wᵀ + b."""
    return features(input_ids, real, **more) @ head[0].T + head[1]


def rms(parts: Sequence[Tensor]) -> Tensor:
    """Root mean square of all numbers together, at least the smallest normal one.

    >>> rms([torch.tensor([[3.0], [4.0]]), torch.zeros(23)])
    tensor(1.)
    """
    mean = sum((part.square().sum() for part in parts), torch.zeros(())) / sum(part.numel() for part in parts)
    return mean.clamp(min=torch.finfo(mean.dtype).tiny).sqrt()


def outer_loss(problem: Problem, support: Indices, query: Indices, key: Sequence[int], note: Note) -> MaskTuning:
    """The outer loss after steps of scores whose initial values are drawn by `key`.

    Raises FloatingPointError where the loss is NaN or infinite.
    """
    config, seed = problem.config.outer, int(np.random.SeedSequence([*key, 2]).generate_state(1)[0])
    kind, train = problem.kind, problem.examples("train")
    assert kind.readout is not None, "the config sees to it"

    def scores(model: nn.Module) -> dict[str, Tensor]:
        assert isinstance(model, InnerModel)
        return initial_scores(maskable(model, config.first_layer), config.sparsity, seed)

    batches = [kind.batch(train, rows) for rows in rows_of_steps(config, support)]
    head, loss = partial(head_of, problem, support), partial(query_loss, problem, "train", query, note)
    return MaskTuning(batches, config.mask_rate, scores, head, loss, config.first_order, kind.readout.loss)


def fit(features: FrozenFeatures, picked: np.ndarray, seed: int, progress: Progress = UNSEEN_PROGRESS) -> Chosen:
    """A classifier under masks of the encoder, which stays as it is, learned from the picked training examples by Adam;
    dev selects the epoch. The head starts from the ridge solution under the initial masks.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    problem, model, config = features.problem, features.model, features.problem.config.evaluate.weight_mask
    scores = initial_scores(maskable(model, config.first_layer), config.sparsity, seed)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    masks = {name: binarise(m).to(weights[name]) for name, m in scores.items()}
    with torch.no_grad():
        head = head_of(problem, picked, Elsewhere(model, masked(weights, masks)))
    tuned = MaskedClassifier(model, scores, *head)
    optimizer = torch.optim.Adam(tuned.parameters(), lr=config.learning_rate)
    return choose_epoch(problem, tuned, optimizer, config, picked, seed, progress)


ADAPTATION = Adaptation(outer_loss, fit)
