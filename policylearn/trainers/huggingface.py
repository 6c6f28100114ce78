"""Hugging Face `Trainer`, and what is built on it."""

import math
import warnings
from typing import Any

from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import has_length

from policylearn.collator.clock import Timed
from policylearn.collator.denoising import DenoisingCollator
from policylearn.trainers.repeats import repeats_of

BEGUN_ANEW = (
    "the stream has ended within the {} steps that were made before, and Trainer begins it anew, under the masks of "
    "epoch {}: not the texts and masks it would have had undisturbed. Give it an endless stream, or data with a length"
)
SMOOTHED = (
    "label_smoothing_factor {} keeps the labels from the model, whose decoder is then not given the restored text: set "
    "model of the DenoisingCollator to it, as in DenoisingCollator(tokenizer, model=model), or the factor to 0"
)


class EpochCallback(TrainerCallback):
    """Tells a collator the epoch and the progress of a `Trainer`, in its workers too.

    The epoch is that of the `Trainer`: a run that is resumed, in the middle of an epoch or not, sees the masks it would
    have seen undisturbed. Progress is that of the moment when a batch is put together, which is ahead of its use by
    one batch without workers, and by as many as they prefetch with workers: where a rate has a schedule, the first
    batches of a run that is resumed, which are put together after what they follow, have one a little further on.

    It also tells whether the data are a stream, which may come to a text again within an epoch, or copies of one data
    set: what a text's mask then depends on is said at `PolicyCollator`. A resumed run over a stream goes through the
    batches before, as `Trainer` does, and so counts as it would have undisturbed. Of a stream that has no length and
    ends within the run `Trainer` does not know where it was: it begins the stream anew, of which there is a warning.

    Args:
        collator: the `data_collator` of the `Trainer`.

    Usage: `Trainer(..., data_collator=collator, callbacks=[EpochCallback(collator)])`.
    """

    def __init__(self, collator: Timed) -> None:
        self.collator = collator
        self._epoch = self._first = self._skipped = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Where this run begins, and in what data. ValueError: a decoder would be given the corrupted text."""
        if args.label_smoothing_factor and isinstance(self.collator, DenoisingCollator) and self.collator.model is None:
            raise ValueError(SMOOTHED.format(args.label_smoothing_factor))
        loader = kwargs["train_dataloader"]
        self.collator.begin_training(repeats_of(loader), args.process_index)
        steps = steps_per_epoch(loader, args.gradient_accumulation_steps, state.max_steps)
        self._epoch = self._first = state.global_step // steps
        self._skipped = 0 if has_length(loader) else state.global_step

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Before the loader is asked for the batches of an epoch."""
        if self._skipped and self._epoch > self._first:  # an epoch without a step
            warnings.warn(BEGUN_ANEW.format(self._skipped, self._epoch), stacklevel=2)
        # Counted, as Trainer does: state.epoch lags behind when an epoch is stopped early or its length is not known.
        self.collator.set_epoch(self._epoch)
        self._tell_progress(state)
        self._epoch += 1

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Before the loader is asked for the batches of the next step."""
        self._skipped = 0
        self._tell_progress(state)

    def _tell_progress(self, state: TrainerState) -> None:
        """A loop of one's own may go beyond the steps that it has announced."""
        self.collator.set_progress(min(1.0, state.global_step / state.max_steps))


def steps_per_epoch(loader: DataLoader, accumulation: int, longest: int) -> int:
    """Optimiser steps that `Trainer` counts as an epoch, one where there is no batch; `longest` where the loader does
    not know its length.

    >>> steps_per_epoch(DataLoader(range(10), batch_size=2), 2, 100)
    3
    """
    return max(1, math.ceil(len(loader) / accumulation)) if has_length(loader) else longest
