"""Labels beside masks: every step of a `Trainer` takes the loss of labelled examples as well, as the arm `multitask` of
a comparison does (`evaluation.multitask`)."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from policylearn.adapt.finetune import Classifier
from policylearn.config import PretrainConfig
from policylearn.evaluation.multitask import examples_in_turn, with_head
from policylearn.models.model import InnerModel
from policylearn.pretrain.masked_tokens import MaskedTokensTrainer
from policylearn.problem import Problem

HEAD = "task_head"
"""A part of the model while it is trained, so that it is moved, clipped and kept in checkpoints like the rest."""


class LabelledSteps:
    """The loss of the examples of train that a step sees, under a head that is thrown away in the end.

    Args:
        problem: whose task it is, one that has a head.
        model: trained, on the device where it is trained; its `mlm` gets the head.
        settings: how many examples a step sees, and the seed of their order.
    """

    def __init__(self, problem: Problem, model: InnerModel, settings: PretrainConfig) -> None:
        self.kind, self.train, self.settings = problem.kind, problem.labelled("train"), settings
        self.classifier: Classifier = with_head(problem, model, problem.watch)
        width, inputs = self.classifier.weight.shape
        head = nn.Linear(inputs, width)
        head.weight, head.bias = self.classifier.weight, self.classifier.bias
        model.mlm.add_module(HEAD, head)
        self._rows: Iterator[list[int]] | None = None

    def next_loss(self, step: int) -> Tensor:
        """The mean loss of the next examples, a scalar; the first time, of those that are due at `step`."""
        if self._rows is None:
            rows = examples_in_turn(len(self.train), self.settings.labels, self.settings.seed)
            self._rows = islice(rows, step, None)
        batch, like = self.kind.batch(self.train, next(self._rows)), self.classifier.bias
        return self.kind.step_loss(self.classifier, batch, self.kind.step_loss.inputs(batch, like))


class BesideLabels(MaskedTokensTrainer):
    """L = L_task + λ · L_MLM, λ = `pretrain.mlm_weight`; where a step is cut, its labels come with the first part. For
    one process: across several, gradients are averaged of what the model's own forward used, and the head is no part of
    that.

    Attributes:
        labels: what of the loss is that of labels; to be set before it trains.
    """

    labels: LabelledSteps
    _counted = -1

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of masked tokens, as ever, and in the first part of a step that of labels."""
        assert not return_outputs, "nothing is evaluated here"
        masked: Any = super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        loss = self.labels.settings.mlm_weight * masked
        if self.state.global_step != self._counted:
            self._counted = self.state.global_step
            loss = loss + self.labels.next_loss(self.state.global_step)
        return loss


def without_head(model: PreTrainedModel) -> None:
    """From now on the model is one of masked tokens alone."""
    delattr(model, HEAD)
