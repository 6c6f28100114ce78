"""PolicyCollator: a learned policy as the data collator of any trainer. Needs neither ray, higher nor datasets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info
from transformers import PreTrainedTokenizerBase

from policylearn.artefact import PolicyArtefact, load_policy
from policylearn.policy import Columns, MaskingPolicy, mask_tokens
from policylearn.scores.table import scorer_of

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
        seed: another seed, other masks.
        pad_to_multiple_of: as in `tokenizer.pad`.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        policy: MaskingPolicy,
        seed: int = 0,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        self.tokenizer, self.policy = tokenizer, policy.eval()
        self.seed, self.pad_to_multiple_of = seed, pad_to_multiple_of
        self._epoch: int | None = None
        self._progress = 0.0
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
        return cls(tokenizer or artefact.tokenizer, artefact.policy, **options)

    def set_epoch(self, epoch: int) -> None:
        """From now on masks are those of this epoch."""
        self._epoch = epoch

    def set_progress(self, progress: float) -> None:
        """The share of training that is done, for a policy whose rate has a schedule; 0 until told."""
        self._progress = progress

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Examples with `input_ids` (lists or tensors) → input_ids, attention_mask and labels, all [B, T].

        labels are -100 where nothing is to be predicted. A column named after a scorer of the policy holds scores
        of the example's own tokens, which replace the scorer's table; other columns the tokenizer can pad are
        passed on.

        Raises:
            ValueError: a score column is not as long as the tokens, or holds what is no number.
        """
        mine = {scorer_of(name) for name in self.policy.names}
        left_out = {*_NOT_FOR_THE_MODEL, *mine}
        kept = [{k: v for k, v in example.items() if k not in left_out} for example in examples]
        batch = self.tokenizer.pad(
            kept, pad_to_multiple_of=self.pad_to_multiple_of, return_attention_mask=True, return_tensors="pt"
        )
        real = batch["attention_mask"].bool()
        columns = {name: score_column(name, examples, real) for name in sorted(mine) if name in examples[0]}
        batch["input_ids"], batch["labels"] = self.mask_tokens(batch["input_ids"], real, columns)
        return dict(batch)

    def mask_tokens(self, input_ids: Tensor, real: Tensor, columns: Columns | None = None) -> tuple[Tensor, Tensor]:
        """Corrupted input_ids and labels for token ids [B, T], `real` [B, T] False on padding."""
        epoch, mask_id = self._draw(), self.tokenizer.mask_token_id
        masked = mask_tokens(self.policy, input_ids, real, mask_id, self.seed, epoch, self._progress, columns)
        return masked.input_ids, masked.labels

    def _draw(self) -> int:
        if self._epoch is not None:
            return self._epoch
        self._batches += 1
        worker = get_worker_info()
        # Workers are forked anew each epoch with a fresh base seed, and with their counters set back to zero.
        return self._batches if worker is None else self._batches + (worker.seed - worker.id)


def score_column(name: str, examples: Sequence[Mapping[str, Any]], real: Tensor) -> Tensor:
    """The scores that examples carry under a name, laid where their tokens are; [B, T] float32, 0 on padding.

    Raises:
        ValueError: an example has no such column, too few or too many scores, or one that is NaN or infinite.
    """
    column = torch.zeros(real.shape)
    for row, example in enumerate(examples):
        values = torch.as_tensor(example.get(name, []), dtype=torch.float32)
        if values.shape != (int(real[row].sum()),):
            raise ValueError(
                f"example {row} of the batch has {values.numel()} scores in column {name!r} for {int(real[row].sum())} "
                "tokens: give one number per token, special tokens included, in every example or in none"
            )
        if not torch.isfinite(values).all():
            raise ValueError(f"example {row} of the batch has a score in column {name!r} that is NaN or infinite")
        column[row, real[row]] = values
    return column
