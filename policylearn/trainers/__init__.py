"""Callbacks that tell a `PolicyCollator` where training is, one file per trainer, imported when first used.

- `EpochCallback`: Hugging Face `Trainer`
- `LightningEpochCallback`: PyTorch Lightning

Where the loop is one's own (a plain `DataLoader`, Accelerate) call `collator.set_epoch` and `collator.set_progress`.
`configs/trainers` has a page and a complete script for each.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "EpochCallback": "policylearn.trainers.huggingface",
    "LightningEpochCallback": "policylearn.trainers.lightning",
}
__all__ = ["EpochCallback", "LightningEpochCallback"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'policylearn.trainers' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
