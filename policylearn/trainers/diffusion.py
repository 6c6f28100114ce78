"""A policy in others' trainers of masked-diffusion language models: two classes to stand in front of theirs.

- `PolicyMDLM`: of `MDLMTrainer` of dllm (github.com/ZHZisZZ/dllm)
- `PolicyCorruption`: of `MDLMStrategy` of NeMo AutoModel (github.com/NVIDIA-NeMo/Automodel)

Neither package is imported here. What the loss then estimates says `policylearn.policy.diffusion`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from policylearn.masking.corruption import IGNORED
from policylearn.masking.field import text_field
from policylearn.policy.diffusion import Diffused, Weighting, diffuse
from policylearn.policy.policy import MaskingPolicy

FLOOR = 0.1


def check_hides_alike(policy: MaskingPolicy, mask_id: int | None) -> None:
    """That a trainer hides tokens behind the one that a policy knows for its mask: of other tokenizers ids mean other
    tokens.

    Raises:
        ValueError: they are two.
    """
    if (own := text_field(policy.field).mask_id) != mask_id:
        raise ValueError(
            f"the trainer's tokenizer masks with id {mask_id}, the policy with {own}: take the tokenizer that the "
            "policy was made with"
        )


class PolicyMDLM:
    """Trains as a policy says, and evaluates as `MDLMTrainer` does, by the bound under uniform masks:

        class Trainer(PolicyMDLM, MDLMTrainer): ...

        Trainer(model=model, args=args, train_dataset=texts, policy=load_policy("runs/mine/policy").policy)

    Every position with a label is trained on; where that is a special token (an end of text), of which a policy says
    nothing, it is hidden with probability t. Masks depend on `args.seed`, the step and the text. `time_epsilon`, the
    scheduler and `loss_weight_type` matter to evaluation alone, `loss_norm_type` to both.

    Args:
        policy: π_φ, learned with the model's tokenizer.
        weighting, floor, complement: as in `DiffusionCollator`; complements double the rows of a batch.

    Raises:
        ValueError: the tokenizer masks with another token.
    """

    def __init__(
        self,
        *args: Any,
        policy: MaskingPolicy,
        weighting: Weighting = "inclusion",
        floor: float = FLOOR,
        complement: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        check_hides_alike(policy, self.processing_class.mask_token_id)  # type: ignore[attr-defined]  # of the trainer
        self.policy, self.weighting, self.floor, self.complement = policy.eval(), weighting, floor, complement

    def compute_loss(self: Any, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        """The weighted loss of a batch, and what the model gave if asked for."""
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, **kwargs)  # type: ignore[misc]
        inputs, rows = self._preprocess_inputs(inputs), 2 if self.complement else 1
        hidden = self._hidden(inputs["input_ids"].cpu(), inputs["labels"].cpu() != IGNORED).to(inputs["labels"].device)
        inputs = {name: x if x is None else x.repeat_interleave(rows, 0) for name, x in inputs.items()}
        ids, counted = inputs["input_ids"], inputs["labels"] != IGNORED
        shown = hidden.show(ids, self.processing_class.mask_token_id)
        outputs = self._postprocess_outputs(model(input_ids=shown, attention_mask=inputs.get("attention_mask")))
        nll = hidden.weights(self.weighting) * cross_entropy(outputs.logits.transpose(1, 2), ids, reduction="none")
        self.meter.update(split="train", value=nll.detach(), weight=counted.to(nll.dtype))
        tokens = counted.sum(1, keepdim=True).clamp(min=1)
        by = {"token": tokens.sum(), "sequence": tokens * len(ids), "batch": len(ids)}[self.loss_norm_type]
        loss = (nll / by).sum()
        return (loss, outputs) if return_outputs else loss

    def _hidden(self: Any, ids: Tensor, counted: Tensor) -> Diffused:
        drawn_by = self.args.seed, self.state.global_step
        hidden = diffuse(self.policy, ids, counted, *drawn_by, floor=self.floor, ends=True)
        return hidden.with_complements() if self.complement else hidden


class PolicyCorruption:
    """Corrupts as a policy says, in training and in validation:

        class Strategy(PolicyCorruption, MDLMStrategy):
            policy = load_policy("runs/mine/policy").policy

        DLLM_STRATEGIES["policy"] = Strategy  # and in the recipe's YAML, dllm.mode: policy

    `MDLMCrossEntropyLoss` weights what is hidden by 1 / p_mask, whichever it is. At least one token is hidden, so `eps`
    is of no concern; rates are those of texts, `block_size` notwithstanding, as in `MDLMStrategy`.

    Attributes:
        policy: π_φ, learned with the model's tokenizer.
        weighting, floor: as in `DiffusionCollator`.
    """

    policy: MaskingPolicy
    weighting: Weighting = "inclusion"
    floor: float = FLOOR

    def apply_corruption(
        self,
        input_ids: Tensor,
        loss_mask: Tensor,
        mask_token_id: int,
        *,
        eps: float,
        block_size: int | None,
        half_life_ratio: float | None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(noisy_input_ids, noise_mask, p_mask), [B, L] each; p_mask is float32. ValueError: the recipe masks with
        another token than the policy."""
        check_hides_alike(self.policy, mask_token_id)
        place = None if generator is None else generator.device
        seed = int(torch.randint(1 << 62, (1,), generator=generator, device=place))
        text = input_ids.cpu(), loss_mask.bool().cpu()
        hidden = diffuse(self.policy, *text, seed, 0, floor=self.floor, ends=True).to(input_ids.device)
        t = hidden.t[:, None].expand_as(hidden.p)
        p_mask = torch.where(hidden.p > 0, hidden.p, t) if self.weighting == "inclusion" else t
        return hidden.show(input_ids, mask_token_id), hidden.mask, p_mask
