"""The loss of masked tokens in a `Trainer`, from the logits of these alone.

The vocabulary head is more than half the work of a small model's step, and the logits of all tokens most of its memory;
six tokens of seven are not to be predicted."""

from typing import Any, cast

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from policylearn.masking.corruption import IGNORED
from policylearn.models.heads import has_known_head
from policylearn.pretrain.saving import SavingTrainer


class MaskedTokensTrainer(SavingTrainer):
    """A `Trainer` whose model hands its vocabulary head the masked tokens only, if the head is one that we know to look
    at every token by itself (`models.heads`). Loss and gradients are the same to the last bits, summed in another
    order.
    """

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """As `Trainer` has it; several GPUs in one process have all logits, for each has a share of the masks.
        `loss_of` takes one loss over them all, which `Trainer` multiplies as if it were the mean of one of each.
        """
        mlm = cast(PreTrainedModel, self.model)
        if self.args.n_gpu > 1:
            assert not return_outputs, "nothing is evaluated here"
            return super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch) / self.args.n_gpu
        if not has_known_head(mlm):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        masked = inputs["labels"] != IGNORED

        def keep_masked(encoder: nn.Module, given: Any, output: Any) -> Any:
            hook.remove()  # for this call alone: the encoder may be called again for labels
            output.last_hidden_state = output.last_hidden_state[masked]
            return output

        encoder = mlm.base_model
        hook = encoder.register_forward_hook(keep_masked)  # the model's own forward is what DDP averages over
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


def loss_of(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Cross-entropy of masked tokens, Σ CE / M over all M of the step, however it is dealt out: many models take the
    mean of what they are given, which `Trainer` would then add up.

    Args:
        outputs: of the model, with logits [B, T, V], or of the masked tokens alone, [M, V].
        labels: [B, T], -100 where nothing is to be predicted.
        num_items_in_batch: M; None: those of `labels`.
    """
    masked = labels != IGNORED
    logits: Tensor = outputs.logits if outputs.logits.ndim == 2 else outputs.logits[masked]
    total = cross_entropy(logits.float(), labels[masked], reduction="sum")
    return total / (masked.sum() if num_items_in_batch is None else num_items_in_batch)
