"""JointCollator: labelled texts twice, as they are and masked, for fine-tuning on both losses."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import BatchEncoding

from policylearn.collator.padding import rows_of
from policylearn.collator.policy_collator import ExampleRows, PolicyCollator
from policylearn.masking.corruption import IGNORED
from policylearn.messages.quote import quote

MASKED = "masked_"


@dataclass
class JointCollator(PolicyCollator):
    """A `PolicyCollator` whose batches serve two losses of the same texts, L_task + λ · L_MLM (`adapt/joint.py`):

        task = classifier(input_ids, attention_mask, labels=labels).loss
        mlm = masked_lm(masked_input_ids, attention_mask, labels=masked_labels).loss

    with two models that share their encoder (``masked_lm.bert = classifier.bert``).

    Attributes:
        label: the column of the task's labels, which are handed on as `labels`, one for each of `masking.copies`.

    >>> from policylearn.config import PlantedConfig
    >>> from policylearn.data.planted import planted_tokenizer
    >>> tokenizer = planted_tokenizer(PlantedConfig(class_words=5, distractor_words=6, generic_words=30))
    >>> collator = JointCollator(tokenizer, mlm_probability=0.4)
    >>> collator.set_epoch(0)
    >>> batch = collator([{"input_ids": [2, 20, 21, 22, 23, 24, 3], "label": 1}])
    >>> for name in ("input_ids", "labels", "masked_input_ids", "masked_labels"):
    ...     print(name, batch[name].tolist())
    input_ids [[2, 20, 21, 22, 23, 24, 3]]
    labels [1]
    masked_input_ids [[2, 4, 21, 22, 23, 4, 3]]
    masked_labels [[-100, 20, -100, -100, -100, 24, -100]]
    """

    label: str = "label"

    def torch_call(self, examples: ExampleRows) -> BatchEncoding:
        """`PolicyCollator.torch_call`, with the texts as they are beside it. ValueError: a label is missing."""
        texts, labels = self._apart(examples)
        return self._both(super().torch_call(texts), self._numbers(torch.as_tensor, labels))

    def numpy_call(self, examples: ExampleRows) -> BatchEncoding:
        """The same in NumPy."""
        texts, labels = self._apart(examples)
        found = self._numbers(np.asarray, labels)
        if found.dtype == object or found.dtype.kind in "US":
            raise self._no_numbers(labels)
        return self._both(super().numpy_call(texts), found)

    def _apart(self, examples: ExampleRows) -> tuple[ExampleRows, Any]:
        """Texts without their labels, and these, as often as the policy has copies of a text."""
        examples = rows_of(examples)
        if isinstance(examples, Mapping):
            self._check(examples, "the batch")
            return {name: column for name, column in examples.items() if name != self.label}, examples[self.label]
        for number, row in enumerate(examples):
            self._check(row, f"example {number} of the batch")
        rows: list[Mapping] = list(examples)  # type: ignore[arg-type]
        texts = [{name: value for name, value in row.items() if name != self.label} for row in rows]
        return texts, [row[self.label] for row in rows for _ in range(self.policy.masking.copies)]

    def _check(self, row: Any, which: str) -> None:
        if not isinstance(row, Mapping) or self.label not in row:
            raise ValueError(f"{which} has no column {self.label!r}, the task's labels: set label to the one it has")

    def _numbers(self, made: Callable[[Any], Any], labels: Any) -> Any:
        try:
            return made(labels)
        except (TypeError, ValueError, RuntimeError):  # of torch and NumPy, each in its way
            raise self._no_numbers(labels) from None

    def _no_numbers(self, labels: Any) -> ValueError:
        return ValueError(
            f"column {self.label!r} holds {quote(labels)}, which is no array of numbers: give class numbers, or lists "
            "of numbers of one length"
        )

    def _both(self, batch: BatchEncoding, labels: Any) -> BatchEncoding:
        shown, predicted = batch.pop("input_ids"), batch.pop("labels")
        text = deepcopy(shown)
        text[predicted != IGNORED] = predicted[predicted != IGNORED]  # what is to be predicted is what stood there
        both = {"input_ids": text, "labels": labels, MASKED + "input_ids": shown, MASKED + "labels": predicted}
        return BatchEncoding(both | batch.data)
