"""DenoisingCollator: a policy as the data collator of an encoder–decoder, which restores what is masked.

Lewis et al. (2020) for `tokens` and `infilling`, Raffel et al. (2020) for `sentinels`.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.collator.packing import Masking, documents_of
from policylearn.collator.padding import Batch, Padding, assemble
from policylearn.collator.policy_collator import ExampleRows, PolicyCollator
from policylearn.masking.corruption import IGNORED
from policylearn.models.loading import text_ends

STYLES = ("tokens", "infilling", "sentinels")
Row = dict[str, Tensor]


@dataclass
class DenoisingCollator(PolicyCollator):
    """Corrupted text in, restored text out: for HF `Seq2SeqTrainer` and models such as BART and T5, which make
    `decoder_input_ids` of the labels themselves, if they are given them. What is masked is what `PolicyCollator` masks.

    Attributes:
        style: "tokens": every masked token is shown as the policy says ([MASK], a random one, or as it stands), and
            labels are the whole text; "infilling": every run of masked tokens is shown as one [MASK], labels are the
            whole text; "sentinels": every run is shown as the next of `<extra_id_0>`, `<extra_id_1>`, …, and labels are
            the runs, each after its sentinel, then one more sentinel and the end of text.
        model: the model to train, which then makes `decoder_input_ids` of the labels of every batch. With
            `label_smoothing_factor`, or a loss of one's own, a trainer keeps the labels to itself: without it BART
            would decode from the corrupted text. None: the model is given the labels.

    Labels are -100 in padding, which is on the right. A tokenizer without a mask token, as that of T5, needs one to
    learn a policy with: `tokenizer.mask_token = "<extra_id_0>"` costs nothing.

    Raises:
        ValueError: as `PolicyCollator`; the style is not known, the tokenizer has no sentinels, the model makes no
            `decoder_input_ids`, or documents are packed.

    >>> from policylearn.config import PlantedConfig
    >>> from policylearn.data.planted import planted_tokenizer
    >>> tokenizer = planted_tokenizer(PlantedConfig(class_words=5, distractor_words=6, generic_words=30))
    >>> collator = DenoisingCollator(tokenizer, mlm_probability=0.5, style="infilling")  # 4 is [MASK]
    >>> collator.set_epoch(0)
    >>> batch = collator([{"input_ids": [2, 20, 21, 22, 23, 24, 25, 3]}, {"input_ids": [2, 30, 31, 3]}])
    >>> batch["input_ids"]
    tensor([[ 2,  4, 22,  4, 24, 25,  3],
            [ 2, 30,  4,  3,  0,  0,  0]])
    >>> batch["labels"]
    tensor([[   2,   20,   21,   22,   23,   24,   25,    3],
            [   2,   30,   31,    3, -100, -100, -100, -100]])
    """

    style: str = "tokens"
    model: Any = None

    def __post_init__(self) -> None:
        self._sentinels: tuple[PreTrainedTokenizerBase | None, Tensor] = None, torch.zeros(0)
        super().__post_init__()

    def _check_fields(self) -> None:
        super()._check_fields()
        if self.model is not None and not hasattr(self.model, "prepare_decoder_input_ids_from_labels"):
            raise ValueError(
                f"model is a {type(self.model).__name__}, which makes no decoder_input_ids of labels: give an "
                "encoder–decoder of transformers, such as BART, or leave it out"
            )
        if self.style not in STYLES:
            raise ValueError(f"style {self.style!r}: take one of {', '.join(STYLES)}")
        if self.style != "sentinels":
            return
        if self._sentinels[0] is not self.tokenizer:
            self._sentinels = self.tokenizer, sentinels_of(self.tokenizer)
        if len(self._sentinels[1]) < 2:
            raise ValueError('the tokenizer has no <extra_id_0> and <extra_id_1>: take style="infilling"')

    def _call(self, examples: ExampleRows, mask: Masking) -> Batch:
        batch = super()._call(examples, mask)
        if _packed(batch):
            raise ValueError("documents are packed, which an encoder–decoder does not take apart: give one per example")
        if not batch["input_ids"].numel():
            return batch
        return self._with_decoder(self._apart(batch) if self.mlm else batch | {"labels": self._unmasked(batch)})

    def _unmasked(self, batch: Batch) -> Tensor:
        """The labels of a batch, padded on the right wherever its tokens are."""
        return self._told(
            [row[real] for row, real in zip(batch["labels"], batch["attention_mask"].bool(), strict=True)]
        )

    def _apart(self, batch: Batch) -> Batch:
        rows = zip(batch["input_ids"], batch["labels"], batch["attention_mask"].bool(), strict=True)
        pairs = [self._restored(shown[real], labels[real]) for shown, labels, real in rows]
        return self._padded([pair[0] for pair in pairs], [pair[1] for pair in pairs], batch)

    def _with_decoder(self, batch: Batch) -> Batch:
        if self.model is None:
            return batch
        given = self.model.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
        return batch | {"decoder_input_ids": given}

    def _predictable(self, labels: Tensor, ids: Tensor, real: Tensor) -> Tensor:
        """As they are: the decoder has the whole text to say, or the end of it, where nothing is masked."""
        return labels

    def _restored(self, shown: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What encoder and decoder are to be given for one masked text, [T] each before."""
        masked = labels != IGNORED
        original = torch.where(masked, labels, shown)
        if self.style == "tokens":
            return shown, original
        if self.style == "infilling":
            return infilled(original, masked, self.tokenizer.mask_token_id), original
        return with_sentinels(original, masked, self._sentinels[1], text_ends(self.tokenizer).get("eos_token_id"))

    def _padded(self, shown: list[Tensor], labels: list[Tensor], batch: Batch) -> Batch:
        """Side by side; columns that are as long as the old tokens have lost their meaning."""
        shape, padding = batch["input_ids"].shape, Padding.of(self.tokenizer, self.pad_to_multiple_of)
        kept = {name: value for name, value in batch.items() if getattr(value, "shape", ())[:2] != shape}
        # Each text says by its length where it ends, whatever tokens it holds.
        ids, real = assemble([{"input_ids": row} for row in shown], replace(padding, telling=False))
        return kept | {**ids, "attention_mask": real.long(), "labels": self._told(labels)}

    def _told(self, labels: list[Tensor]) -> Tensor:
        padding = Padding(IGNORED, multiple=self.pad_to_multiple_of, telling=False)
        return assemble([{"input_ids": row} for row in labels], padding)[0]["input_ids"]


def _packed(batch: Batch) -> bool:
    """Whether a row of a batch holds several documents, or there are no rows."""
    mask = batch.get("attention_mask")
    return mask is None or mask.dim() != 2 or documents_of(batch, mask.bool()) is not None


def infilled(original: Tensor, masked: Tensor, mask_id: int) -> Tensor:
    """A text [T] with every run of masked tokens shown as one [MASK].

    >>> infilled(torch.tensor([5, 6, 7, 8]), torch.tensor([False, True, True, False]), mask_id=4)
    tensor([5, 4, 8])
    """
    begins = first_of_runs(masked)
    return original.masked_fill(begins, mask_id)[begins | ~masked]


def with_sentinels(original: Tensor, masked: Tensor, sentinels: Tensor, end: int | None) -> tuple[Tensor, Tensor]:
    """A text [T] with runs of masked tokens shown as one sentinel each; and the runs, each after its sentinel, with one
    more sentinel and the end of text.

    Raises:
        ValueError: there are more runs than sentinels, less one.

    >>> text, masked = torch.tensor([5, 6, 7, 8, 9]), torch.tensor([False, True, True, False, True])
    >>> with_sentinels(text, masked, sentinels=torch.tensor([30, 31, 32]), end=3)
    (tensor([ 5, 30,  8, 31]), tensor([30,  6,  7, 31,  9, 32,  3]))
    """
    begins = first_of_runs(masked)
    runs = int(begins.sum())
    if runs >= len(sentinels):
        raise ValueError(
            f"a text has {runs} runs of masked tokens, the tokenizer {len(sentinels)} sentinels, and one is for the "
            "end: cut texts shorter, lower the rate, or mask spans"
        )
    names = sentinels[(begins.cumsum(0) - 1).clamp(min=0)]
    shown = torch.where(begins, names, original)[begins | ~masked]
    told = torch.stack([names, original], 1)[torch.stack([begins, masked], 1)]
    last = [int(sentinels[runs]), *([] if end is None else [end])]
    return shown, torch.cat([told, told.new_tensor(last)])


def first_of_runs(masked: Tensor) -> Tensor:
    """Where runs of True begin, [T].

    >>> first_of_runs(torch.tensor([True, True, False, True])).tolist()
    [True, False, False, True]
    """
    return masked & ~torch.cat([masked.new_zeros(1), masked[:-1]])


def sentinels_of(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Ids of `<extra_id_0>`, `<extra_id_1>`, … as far as the tokenizer has them."""
    known: dict[str, Any] = tokenizer.get_vocab()
    found: list[int] = []
    while (name := f"<extra_id_{len(found)}>") in known:
        found.append(known[name])
    return torch.tensor(found, dtype=torch.int64)
