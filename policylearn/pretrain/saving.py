"""What a training writes, and cannot write."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError
from transformers import Trainer

from policylearn.storage.folder import StorageFailed


@contextmanager
def written(place: str) -> Iterator[None]:
    """StorageFailed: what is written within cannot be; libraries say so in ways of their own."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # storage boundary
        raise StorageFailed(f"{place} cannot be written: {' '.join(str(error).split())}") from error


class SavingTrainer(Trainer):
    """A `Trainer` that raises StorageFailed where a checkpoint cannot be written."""

    def _save_checkpoint(self, *given: Any) -> None:
        with written(str(self.args.output_dir)):
            super()._save_checkpoint(*given)
