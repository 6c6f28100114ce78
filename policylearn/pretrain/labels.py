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
from policylearn.problems.problem import Problem

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

    def next_loss(self, step: int, process: int = 0, processes: int = 1) -> Tensor:
        """The mean loss of the examples of a step that are the share of a process, a scalar; steps are asked for in
        turn, the first may be any."""
        if self._rows is None:
            rows = examples_in_turn(len(self.train), self.settings.labels, self.settings.seed)
            self._rows = islice(rows, step, None)
        batch, like = self.kind.batch(self.train, next(self._rows)[process::processes]), self.classifier.bias
        return self.kind.step_loss(self.classifier, batch, self.kind.step_loss.inputs(batch, like))


class BesideLabels(MaskedTokensTrainer):
    """L = L_task + λ · L_MLM, λ = `pretrain.mlm_weight`; where a step is cut, its labels come with the last part.

    Attributes:
        labels: what of the loss is that of labels; to be set before it trains.
    """

    labels: LabelledSteps

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of masked tokens, as ever, and in the last part of a step that of labels."""
        assert not return_outputs and isinstance(self.model, nn.Module), "nothing is evaluated here"
        beside = list[Tensor]()

        def with_labels(mlm: nn.Module, given: Any, output: Any) -> Any:
            step = self.state.global_step
            beside.append(self.labels.next_loss(step, self.args.process_index, self.args.world_size))
            output.loss = beside[0]  # so that DDP, which wraps the model, knows what of it is used
            return output

        hook = self.model.register_forward_hook(with_labels) if self.accelerator.sync_gradients else None
        try:
            masked: Any = super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        finally:
            if hook is not None:
                hook.remove()
        return self.labels.settings.mlm_weight * masked + sum(beside)


def without_head(model: PreTrainedModel) -> None:
    """From now on the model is one of masked tokens alone."""
    delattr(model, HEAD)
