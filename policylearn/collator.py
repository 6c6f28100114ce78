"""PolicyCollator: a learned policy as the data collator of any trainer. Needs neither ray, higher nor datasets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import get_worker_info
from transformers import PreTrainedTokenizerBase

from policylearn.artefact import PolicyArtefact, load_policy
from policylearn.config import MaskingConfig
from policylearn.policy import MaskingPolicy, mask_tokens

_NOT_FOR_THE_MODEL = ("labels", "special_tokens_mask")


class PolicyCollator:
    """Pads examples and masks them as a policy says: a picklable callable for HF Trainer, Accelerate, Lightning
    or a plain `DataLoader`.

    A mask depends on (seed, epoch, the example's own tokens). Tell the collator the epoch with `set_epoch`
    where you can; without it, every batch drawn counts as its own epoch, so masks differ between epochs all
    the same.

    Args:
        tokenizer: pads, and must be the one the policy was learned with.
        policy: π_φ.
        masking: design and corruption.
        seed: another seed, other masks.
        pad_to_multiple_of: as in `tokenizer.pad`.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        policy: MaskingPolicy,
        masking: MaskingConfig,
        seed: int = 0,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        self.tokenizer, self.policy, self.masking = tokenizer, policy.eval(), masking
        self.seed, self.pad_to_multiple_of = seed, pad_to_multiple_of
        self._epoch: int | None = None
        self._batches = 0

    @classmethod
    def from_pretrained(
        cls, source: str | Path, tokenizer: PreTrainedTokenizerBase | None = None, **options: Any
    ) -> "PolicyCollator":
        """Load an exported policy from a folder or the Hub.

        Args:
            source: folder with a policy artefact, or "org/name" on the Hub.
            tokenizer: the one the policy was learned with; None: the copy that came with the policy.
            options: see the constructor.

        Raises:
            ValueError: no such policy, a damaged one, or another tokenizer.
        """
        artefact: PolicyArtefact = load_policy(source)
        if tokenizer is not None:
            artefact.check_tokenizer(tokenizer)
        return cls(tokenizer or artefact.tokenizer, artefact.policy, artefact.masking, **options)

    def set_epoch(self, epoch: int) -> None:
        """From now on masks are those of this epoch."""
        self._epoch = epoch

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Examples with `input_ids` (lists or tensors) → input_ids, attention_mask and labels, all [B, T].

        labels are -100 where nothing is to be predicted. Other columns the tokenizer can pad are passed on.
        """
        kept = [{k: v for k, v in example.items() if k not in _NOT_FOR_THE_MODEL} for example in examples]
        batch = self.tokenizer.pad(
            kept, pad_to_multiple_of=self.pad_to_multiple_of, return_attention_mask=True, return_tensors="pt"
        )
        batch["input_ids"], batch["labels"] = self.mask_tokens(batch["input_ids"], batch["attention_mask"].bool())
        return dict(batch)

    def mask_tokens(self, input_ids: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Corrupted input_ids and labels for token ids [B, T], `real` [B, T] False on padding."""
        return mask_tokens(
            self.policy, input_ids, real, self.masking, self.tokenizer.mask_token_id, self.seed, self._draw()
        )

    def _draw(self) -> int:
        if self._epoch is not None:
            return self._epoch
        self._batches += 1
        worker = get_worker_info()
        # Workers are forked anew each epoch with a fresh base seed, and with their counters set back to zero.
        return self._batches if worker is None else self._batches + (worker.seed - worker.id)
