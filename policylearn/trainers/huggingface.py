"""Hugging Face `Trainer`, and what is built on it."""

import math
from typing import Any

from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import has_length

from policylearn.collator.clock import Timed
from policylearn.trainers.repeats import repeats_of


class EpochCallback(TrainerCallback):
    """Tells a collator the epoch and the progress of a `Trainer`, in its workers too.

    The epoch is that of the `Trainer`: a run that is resumed, in the middle of an epoch or not, sees the masks it would
    have seen undisturbed. Progress is that of the moment when a batch is put together, which is ahead of its use by
    one batch without workers, and by as many as they prefetch with workers.

    It also tells whether the data are a stream, which may come to a text again within an epoch, or copies of one data
    set: what a text's mask then depends on is said at `PolicyCollator`. A resumed run over a stream goes through the
    batches before, as `Trainer` does, and so counts as it would have undisturbed.

    Args:
        collator: the `data_collator` of the `Trainer`.

    Usage: `Trainer(..., data_collator=collator, callbacks=[EpochCallback(collator)])`.
    """

    def __init__(self, collator: Timed) -> None:
        self.collator = collator
        self._epoch = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Where this run begins, and in what data."""
        loader = kwargs["train_dataloader"]
        self.collator.begin_training(repeats_of(loader), args.process_index)
        steps = steps_per_epoch(loader, args.gradient_accumulation_steps, state.max_steps)
        self._epoch = state.global_step // steps

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Before the loader is asked for the batches of an epoch."""
        # Counted, as Trainer does: state.epoch lags behind when an epoch is stopped early or its length is not known.
        self.collator.set_epoch(self._epoch)
        self._tell_progress(state)
        self._epoch += 1

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Before the loader is asked for the batches of the next step."""
        self._tell_progress(state)

    def _tell_progress(self, state: TrainerState) -> None:
        """A loop of one's own may go beyond the steps that it has announced."""
        self.collator.set_progress(min(1.0, state.global_step / state.max_steps))


def steps_per_epoch(loader: DataLoader, accumulation: int, longest: int) -> int:
    """Optimiser steps that `Trainer` counts as an epoch; `longest` where the loader does not know its length.

    >>> steps_per_epoch(DataLoader(range(10), batch_size=2), 2, 100)
    3
    """
    return math.ceil(len(loader) / accumulation) if has_length(loader) else longest
