"""Callbacks that tell a `PolicyCollator` where training is, one file per trainer, imported when first used; and
classes to stand in front of those of trainers that mask by themselves.

- `EpochCallback`: Hugging Face `Trainer`
- `LightningEpochCallback`: PyTorch Lightning
- `PolicyMDLM`, `PolicyCorruption`: masked diffusion in dllm, and in NeMo AutoModel

Where the loop is one's own (a plain `DataLoader`, Accelerate) call `collator.set_epoch` and `collator.set_progress`.
`configs/trainers` has a page and a complete script for each.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "EpochCallback": "policylearn.trainers.huggingface",
    "LightningEpochCallback": "policylearn.trainers.lightning",
    "PolicyCorruption": "policylearn.trainers.diffusion",
    "PolicyMDLM": "policylearn.trainers.diffusion",
}
__all__ = ["EpochCallback", "LightningEpochCallback", "PolicyCorruption", "PolicyMDLM"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'policylearn.trainers' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
