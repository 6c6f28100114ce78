"""A `Trainer` of the settings in [pretrain], and how far it is."""

import math
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch
from rich.console import Console
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from policylearn.collator.patch_collator import PatchCollator
from policylearn.collator.policy_collator import PolicyCollator
from policylearn.config import Config, PretrainConfig
from policylearn.config.masking import texts_of
from policylearn.pretrain.labels import BesideLabels
from policylearn.pretrain.masked_tokens import MaskedTokensTrainer, loss_of
from policylearn.pretrain.reports import TENSORBOARD, reports
from policylearn.pretrain.rows import PictureRows, TextRows, Unnumbered
from policylearn.pretrain.saving import SavingTrainer
from policylearn.report.progress import TaskProgress, is_live
from policylearn.trainers.huggingface import EpochCallback

LINES = 20
"""How often in a training its loss is said."""
LOWER = "lower pretrain.learning_rate, and begin again with --fresh"
KEPT = 2
"""Checkpoints that are kept while it runs."""


def trainer_of(
    config: Config,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    collator: PolicyCollator | PatchCollator,
    rows: TextRows | PictureRows,
    folder: Path,
) -> Trainer:
    """What trains a model on rows; checkpoints go to `folder`. Models of pictures have their own loss; steps that see
    labels have to be given these. ValueError: as `shares`."""
    if isinstance(collator, PatchCollator):
        kind, masks = SavingTrainer, dict[str, Any](data_collator=collator)
    else:
        kind = BesideLabels if config.pretrain.labels else MaskedTokensTrainer
        masks = {"data_collator": Unnumbered(collator), "compute_loss_func": loss_of}
    to, events = reports(config, folder.parent / TENSORBOARD)
    trainer = kind(
        model=model,
        args=arguments(config, len(rows), folder, collator.policy.masking.copies, to),
        train_dataset=rows,
        processing_class=tokenizer,
        **masks,
        callbacks=[EpochCallback(collator), *events],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def arguments(
    config: Config, rows: int, folder: Path, copies: int = 1, report_to: Sequence[str] = ()
) -> TrainingArguments:
    """The settings of [pretrain] as `Trainer` has them, whose rows a collator makes so many copies of."""
    settings = in_texts(config.pretrain, copies)
    steps = steps_of(settings, rows)
    micro, accumulation = shares(settings, devices())
    return TrainingArguments(
        str(folder),
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=_schedule(settings),
        warmup_steps=round(settings.warmup * steps),
        weight_decay=settings.weight_decay,
        bf16=_bf16(settings),
        dataloader_num_workers=settings.loaders,
        save_steps=settings.save_every,
        save_total_limit=KEPT,
        logging_steps=max(1, steps // LINES),
        logging_nan_inf_filter=False,  # else a loss of NaN is told as 0
        report_to=list(report_to) or "none",
        project=config.track.project,
        run_name=config.track.name or config.name,
        remove_unused_columns=False,
        use_cpu=_on_processor(),
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
        seed=settings.seed,
    )


def in_texts(settings: PretrainConfig, copies: int) -> PretrainConfig:
    """Batches as numbers of texts, of each of which they have so many copies. ValueError: as `texts_of`.

    >>> in_texts(PretrainConfig(batch_size=12, micro_batch=6), 6).micro_batch
    1
    """
    sizes = {name: getattr(settings, name) for name in ("batch_size", "micro_batch")}
    return settings.model_copy(update={name: texts_of(size, copies) for name, size in sizes.items() if size})


def steps_of(settings: PretrainConfig, rows: int) -> int:
    """Optimiser steps of a training on so many rows.

    >>> steps_of(PretrainConfig(epochs=1.5, batch_size=8), 20), steps_of(PretrainConfig(steps=7), 20)
    (5, 7)
    """
    return settings.steps or max(1, math.ceil(settings.epochs * math.ceil(rows / settings.batch_size)))


def shares(settings: PretrainConfig, devices: int) -> tuple[int, int]:
    """(rows that a device takes at once, how often in a step).

    Raises:
        ValueError: a step cannot be dealt out evenly.

    >>> shares(PretrainConfig(batch_size=32), 2), shares(PretrainConfig(batch_size=32, micro_batch=4), 2)
    ((16, 1), (4, 4))
    """
    each = settings.batch_size // devices
    micro = min(settings.micro_batch or each, each)
    if each * devices != settings.batch_size or each % micro:
        raise ValueError(
            f"pretrain.batch_size {settings.batch_size} cannot be dealt out evenly to {devices} GPUs or processes, "
            f"{settings.micro_batch or 'all its'} rows at once: set it to a multiple, or pretrain.micro_batch"
        )
    return micro, each // micro


def filled_up(arguments: TrainingArguments, rows: int) -> str:
    """What is to be said of epochs whose rows several processes cannot have as one has them; empty: nothing.

    Accelerate deals out batches of equal size to all, those that are missing at the end with rows from the beginning.
    """
    at_once = arguments.per_device_train_batch_size * arguments.world_size
    lacking, seen = -rows % at_once, arguments.max_steps * arguments.gradient_accumulation_steps * at_once
    if arguments.world_size == 1 or not lacking or seen <= rows:
        return ""
    return f"rows  {rows:,} in every epoch, and {lacking} of its first again: {at_once} go to all processes at once"


def devices() -> int:
    """Over how many a step is dealt out: processes that were started together, or the GPUs of this one."""
    return int(os.environ.get("WORLD_SIZE") or 0) or max(1, torch.cuda.device_count())


class Shown(TrainerCallback):
    """Shows how far a `Trainer` is, when it will be done, and its loss: a bar, or lines where there is no terminal. A
    context manager: whatever ends the training, the bar stops."""

    def __init__(self, console: Console) -> None:
        self.console, self._loss, self._open = console, "", ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The bar appears, at the step that a resumed training goes on from."""
        done = state.global_step
        progress = TaskProgress("pretraining, steps", state.max_steps, self.console, done=done, own=True)
        self._progress = self._open.enter_context(progress)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """The loss since it was last said; without a terminal, a line of its own. FloatingPointError: it is NaN or
        infinite."""
        if logs and "loss" in logs:
            if not math.isfinite(loss := float(logs["loss"])):
                raise FloatingPointError(f"the loss became {loss} within {state.global_step} steps: {LOWER}")
            self._loss = f"loss {loss:.3f}"
            if not is_live(self.console):
                self._progress.advance(0, label=self._loss)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One more step."""
        self._progress.advance(label=self._loss if is_live(self.console) else "")


def _schedule(settings: PretrainConfig) -> str:
    return "constant_with_warmup" if settings.schedule == "constant" else settings.schedule


def _on_processor() -> bool:
    """Said where it is so: several processes would ask for a GPU each, and bf16 for one."""
    return not torch.accelerator.is_available() or (devices() > 1 and not torch.cuda.is_available())


def _bf16(settings: PretrainConfig) -> bool:
    if settings.bf16 is None:
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return settings.bf16
