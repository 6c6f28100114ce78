"""policylearn learns which tokens are worth masking when a masked language model is further trained.

Public names are imported when first used, so that `import policylearn` costs nothing:

- `PolicyCollator`: an exported policy as a data collator for any trainer
- `DenoisingCollator`: the same for an encoder–decoder
- `JointCollator`: labelled texts as they are and masked, for fine-tuning on both losses
- `MaskingPolicy`: the policy itself, text → inclusion probabilities
- `load_policy`, `save_policy`, `PolicyArtefact`: the exported form
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "PolicyCollator": "policylearn.collator.policy_collator",
    "DenoisingCollator": "policylearn.collator.denoising",
    "JointCollator": "policylearn.collator.joint",
    "MaskingPolicy": "policylearn.policy.policy",
    "PolicyArtefact": "policylearn.artefact",
    "load_policy": "policylearn.artefact",
    "save_policy": "policylearn.artefact",
}
__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'policylearn' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
