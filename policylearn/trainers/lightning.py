"""PyTorch Lightning, as `lightning` or as `pytorch_lightning`."""

from importlib.util import find_spec
from typing import Any

from policylearn.collator.clock import Repeats, Timed
from policylearn.trainers.repeats import repeats_of

if find_spec("lightning"):
    from lightning.pytorch import Callback
else:
    from pytorch_lightning import Callback


class LightningEpochCallback(Callback):
    """Tells a collator the epoch and the progress of a Lightning `Trainer`, in the workers of its loaders too.

    A run that is resumed at the end of an epoch sees the masks it would have seen undisturbed. (In the middle of one
    Lightning starts the data anew; that epoch has the masks it had.) Progress is that of the moment when a batch is put
    together, which workers do ahead of its use.

    It also tells whether the data are a stream, which may come to a text again within an epoch, or copies of one data
    set: what a text's mask then depends on is said at `PolicyCollator`.

    Args:
        collator: the `collate_fn` of the training loader.

    Usage: `Trainer(..., callbacks=[LightningEpochCallback(collator)])`.
    """

    def __init__(self, collator: Timed) -> None:
        self.collator = collator
        self._epoch, self._progress = 0, 0.0

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Lightning may ask the loader for the first batches before it announces the first epoch."""
        if stage == "fit":
            # Which it does of streams alone.
            self.collator.begin_training(Repeats.STREAM, trainer.global_rank)
            self._tell(trainer.current_epoch, 0.0)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """A checkpoint may have been written without this callback."""
        self.collator.expect_repeats(repeats_of(trainer.train_dataloader))
        self._tell(trainer.current_epoch, self._progress)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Before the loader is asked for the batches of an epoch."""
        self._tell(trainer.current_epoch, self._progress)

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        """Progress in optimiser steps, 0 where nobody knows how many there will be; after an epoch's last, the next."""
        steps = trainer.estimated_stepping_batches
        # Of several optimisers Lightning counts the steps of all.
        progress = min(1.0, trainer.global_step / steps) if steps > 0 else 0.0
        self._tell(trainer.current_epoch + trainer.is_last_batch, progress)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """The epoch that a checkpoint written now will begin with; this one may have ended early."""
        self._tell(trainer.current_epoch + 1, self._progress)

    def state_dict(self) -> dict[str, Any]:
        """For Lightning's checkpoints."""
        return {"epoch": self._epoch, "progress": self._progress}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint, which Lightning reads before it asks for the first batch."""
        self._tell(state_dict["epoch"], min(1.0, state_dict["progress"]))

    def _tell(self, epoch: int, progress: float) -> None:
        self._epoch, self._progress = epoch, progress
        self.collator.set_epoch(epoch)
        self.collator.set_progress(progress)
