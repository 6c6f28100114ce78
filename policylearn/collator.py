"""PolicyCollator: a policy as the data collator of any trainer. Needs neither ray, higher nor datasets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info
from transformers import PreTrainedTokenizerBase
from transformers.data.data_collator import DataCollatorMixin

from policylearn.artefact import PolicyArtefact, load_policy
from policylearn.masking import IGNORED
from policylearn.masking.eligibility import look_up
from policylearn.packing import documents_of
from policylearn.padding import Batch, Padding, Rows, assemble, flattened, is_flat
from policylearn.policy import MaskingPolicy, mask_tokens, uniform_policy
from policylearn.scores.table import scorer_of

Examples = Rows | Sequence[Sequence[int]]
DROPPED = ("labels", "offset_mapping")
"""Columns that are made anew, or not needed."""


@dataclass
class PolicyCollator(DataCollatorMixin):
    """Pads examples and masks them as a policy says: a picklable callable for HF Trainer, Accelerate, Lightning
    or a plain `DataLoader`, with the fields and the override points of `DataCollatorForLanguageModeling`.

    A mask depends on (seed, epoch, the example's own tokens): not on workers, ranks, neighbours, padding or packing.
    Tell the collator the epoch with `set_epoch`, or let a callback of `policylearn.trainers` do it; without it, every
    batch drawn counts as its own epoch, so masks differ between epochs all the same.

    Attributes:
        tokenizer: whose ids the policy speaks; pads.
        mlm: False: nothing is masked, labels are the tokens (-100 on padding).
        whole_word_mask: True masks words, False tokens; None: the unit of the policy.
        mlm_probability: masking rate; None: that of the policy, which may have a schedule.
        mask_replace_prob, random_replace_prob: the shares shown as [MASK] and as a random token; None: the policy's.
        pad_to_multiple_of: the width of a batch is a multiple of it.
        return_tensors: "pt" or "np".
        seed: another seed, other masks; None is 0.
        policy: π_φ; None: every token is as likely as any other.

    Raises:
        ValueError: the tokenizer has no mask token or another number of tokens than the policy, or a setting is out of
            its range.
    """

    tokenizer: PreTrainedTokenizerBase
    mlm: bool = True
    whole_word_mask: bool | None = None
    mlm_probability: float | None = None
    mask_replace_prob: float | None = None
    random_replace_prob: float | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: str = "pt"
    seed: int | None = None
    policy: MaskingPolicy = None  # type: ignore[assignment]  # set below

    def __post_init__(self) -> None:
        if self.mlm and self.tokenizer.mask_token_id is None:
            raise ValueError("the tokenizer has no mask token: take one that has, or mlm=False to mask nothing")
        self.policy = (self.policy or uniform_policy(self.tokenizer)).eval()
        if len(self.tokenizer) > (known := len(self.policy.segmenter.special)):
            raise ValueError(
                f"the tokenizer has {len(self.tokenizer)} tokens, the policy knows {known}: it is another's"
            )
        self.generator: torch.Generator | np.random.Generator | None = None
        self._batches = 0
        # Epoch and progress, in shared memory: the workers of a loader hear of a new epoch too.
        self._clock = torch.tensor([torch.nan, 0.0], dtype=torch.float64).share_memory_()
        self._changes: dict[str, Any] = {}
        self._changed = self.policy
        self._current()

    @classmethod
    def from_pretrained(
        cls, source: str | Path, tokenizer: PreTrainedTokenizerBase | None = None, **options: Any
    ) -> "PolicyCollator":
        """Load an exported policy from a folder or the Hub.

        Args:
            source: folder with a policy artefact, or "org/name" on the Hub.
            tokenizer: the one the policy was learned with; None: the copy that came with the policy.
            options: the fields above.

        Raises:
            ValueError: no such policy, a damaged one, or another tokenizer.
        """
        artefact: PolicyArtefact = load_policy(source)
        if tokenizer is not None:
            artefact.check_tokenizer(tokenizer)
        return cls(tokenizer or artefact.tokenizer, policy=artefact.policy, **options)

    def set_epoch(self, epoch: int) -> None:
        """From now on masks are those of this epoch, in the workers of a loader as well."""
        self._clock[0] = epoch

    def set_progress(self, progress: float) -> None:
        """The share of training that is done, for a policy whose rate has a schedule; 0 until told."""
        self._clock[1] = progress

    def create_rng(self) -> None:
        """Asked before every batch. A subclass that sets `self.generator` here has masks follow that generator instead
        of seed and epoch; as it is, nothing here has a state."""

    def torch_call(self, examples: Examples) -> Batch:
        """Examples → input_ids, attention_mask, labels and what else they hold, in PyTorch.

        Args:
            examples: mappings with `input_ids`, or lists of token ids; or a batch that is put together already, one
                mapping of arrays [B, T], or [T] where documents stand end to end and `cu_seqlens` says where. Rows may
                hold several documents, see `policylearn.packing`: each is masked as if it stood alone.
                A column named after a scorer of the policy holds scores of the example's own tokens, which replace the
                scorer's table. `special_tokens_mask` protects further tokens from being masked.

        Returns:
            labels are -100 where nothing is to be predicted.

        Raises:
            ValueError: a column does not fit the tokens.
        """
        rows = self._kept(examples)
        batch = assemble(rows, self._padding())
        real = batch["attention_mask"].bool()
        protected = batch.pop("special_tokens_mask", ~real).bool() | ~real
        scores = {name: batch.pop(name) for name in self._scorers() if name in batch}
        if self.mlm:
            batch["input_ids"], batch["labels"] = self._masked(batch, real, protected, scores)
        else:
            batch["labels"] = batch["input_ids"].masked_fill(~real, IGNORED)
        return flattened(batch) if is_flat(rows) else batch

    def numpy_call(self, examples: Examples) -> Batch:
        """The same in NumPy."""
        batch = self.torch_call(examples)
        return {name: value.numpy() if isinstance(value, Tensor) else value for name, value in batch.items()}

    def torch_mask_tokens(
        self, inputs: Tensor, special_tokens_mask: Tensor | None = None, offset_mapping: Any = None, **scores: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Corrupted input_ids and labels for token ids [B, T]; override it to have the last word on a batch.

        Args:
            inputs: [B, T], one document per row.
            special_tokens_mask: [B, T], True where nothing may be masked, padding included; None: what the tokenizer
                calls special.
            offset_mapping: not needed; words are known from the tokens.
            scores: scorer → [B, T] scores that came with the text.
        """
        policy = self._current()
        special = look_up(policy.segmenter.special, inputs)
        protected = special if special_tokens_mask is None else special_tokens_mask.bool()
        # [CLS] and [SEP] are part of the text; what else is protected is kept from the policy, as padding is.
        real = ~protected | (special & (inputs != self._padding_id()))
        seed, epoch = self._draw()
        mask_id, progress = self.tokenizer.mask_token_id, float(self._clock[1])
        masked = mask_tokens(policy, inputs, real, mask_id, seed, epoch, progress, scores)
        return masked.input_ids, masked.labels

    def numpy_mask_tokens(
        self, inputs: Any, special_tokens_mask: Any = None, offset_mapping: Any = None
    ) -> tuple[Any, Any]:
        """`torch_mask_tokens` for arrays."""
        special = None if special_tokens_mask is None else torch.as_tensor(special_tokens_mask)
        shown, labels = self.torch_mask_tokens(torch.as_tensor(inputs), special)
        return shown.numpy(), labels.numpy()

    def _masked(
        self, batch: Batch, real: Tensor, protected: Tensor, scores: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Corrupted input_ids and labels [B, T], document by document."""
        ids, documents = batch["input_ids"], documents_of(batch, real)
        if documents is None:
            return self.torch_mask_tokens(ids, protected, **scores)
        rows = {name: documents.rows(column) for name, column in scores.items()}
        text = documents.rows(ids, self._padding_id()), documents.rows(protected, True)
        shown, labels = self.torch_mask_tokens(*text, **rows)
        return documents.back(shown, ids), documents.back(labels, torch.full_like(ids, IGNORED))

    def _kept(self, examples: Examples) -> Rows:
        """Without the columns that are made anew or not needed; scores are checked while examples can be named."""
        if isinstance(examples, Mapping):
            return {name: value for name, value in examples.items() if name not in DROPPED}
        rows = [row if isinstance(row, Mapping) else {"input_ids": row} for row in examples]
        check_scores(rows, self._scorers())
        return [{name: value for name, value in row.items() if name not in DROPPED} for row in rows]

    def _padding(self) -> Padding:
        tokenizer, pad = self.tokenizer, self.tokenizer.pad_token_id
        fill = {"special_tokens_mask": 1, "token_type_ids": tokenizer.pad_token_type_id}
        telling = pad not in (None, tokenizer.eos_token_id, tokenizer.sep_token_id, tokenizer.cls_token_id)
        return Padding(pad, fill, tokenizer.padding_side, self.pad_to_multiple_of, telling)

    def _padding_id(self) -> int:
        return 0 if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id

    def _scorers(self) -> list[str]:
        return sorted({scorer_of(name) for name in self.policy.names})

    def _current(self) -> MaskingPolicy:
        """The policy under the settings of this collator, which may be changed at any time."""
        unit = None if self.whole_word_mask is None else ("word" if self.whole_word_mask else "token")
        settings = {
            "unit": unit,
            "rate": self.mlm_probability,
            "mask_share": self.mask_replace_prob,
            "random_share": self.random_replace_prob,
        }
        changes = {name: value for name, value in settings.items() if value is not None}
        if changes != self._changes:
            self._changes, self._changed = changes, self.policy.under(**changes)
        return self._changed

    def _draw(self) -> tuple[int, int]:
        """Seed and epoch of the batch at hand."""
        self.create_rng()
        if isinstance(self.generator, torch.Generator):
            return int(torch.randint(1 << 62, (), generator=self.generator)), 0
        if self.generator is not None:
            return int(self.generator.integers(1 << 62)), 0
        if not self._clock[0].isnan():
            return self.seed or 0, int(self._clock[0])
        self._batches += 1
        worker = get_worker_info()
        # Workers are forked anew each epoch with a fresh base seed, and with their counters set back to zero.
        return self.seed or 0, self._batches + (0 if worker is None else worker.seed - worker.id)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._clock.share_memory_()


def check_scores(examples: Sequence[Mapping[str, Any]], scorers: Sequence[str]) -> None:
    """Refuse scores that do not fit the tokens of their example.

    Raises:
        ValueError: an example has no such column, too few or too many scores, or one that is NaN or infinite.
    """
    for name in [name for name in scorers if any(name in example for example in examples)]:
        for row, example in enumerate(examples):
            values, tokens = torch.as_tensor(example.get(name, []), dtype=torch.float32), len(example["input_ids"])
            if values.shape != (tokens,):
                raise ValueError(
                    f"example {row} of the batch has {values.numel()} scores in column {name!r} for {tokens} "
                    "tokens: give one number per token, special tokens included, in every example or in none"
                )
            if not torch.isfinite(values).all():
                raise ValueError(f"example {row} of the batch has a score in column {name!r} that is NaN or infinite")
