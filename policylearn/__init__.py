"""policylearn learns which tokens are worth masking when a masked language model is further trained.

Public names are imported when first used, so that `import policylearn` costs nothing.

Learning, with objects in and objects out (the extra `train`):

- `learn`: a policy for a task; what comes back has `policy`, `report()`, `evaluate()`
- `evaluate`: arms and policies compared on fresh models
- `diagnose`: is there a signal in the labels?
- `score`: the words that a scorer ranks highest
- `Config`: every setting

Using a policy:

- `PolicyCollator`: a policy as a data collator for any trainer
- `DenoisingCollator`: the same for an encoder–decoder
- `DiffusionCollator`: texts hidden at every rate, with weights, for masked-diffusion language models
- `PatchCollator`: the same for models of pictures
- `JointCollator`: labelled texts as they are and masked, for fine-tuning on both losses
- `average`: several policies as one, of a domain from those of its tasks
- `MaskingPolicy`: the policy itself, text → inclusion probabilities
- `load_policy`, `save_policy`, `PolicyArtefact`: the exported form

Parts of one's own, registered by a decorator: `scorer` (a function that gives `Scores`), `task`, `metric`, `objective`,
`estimator`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from policylearn.api.evaluate import evaluate
    from policylearn.api.learn import learn
    from policylearn.api.look import diagnose, score
    from policylearn.api.parts import estimator, metric, objective, scorer, task
    from policylearn.artefact import PolicyArtefact, load_policy, save_policy
    from policylearn.collator.denoising import DenoisingCollator
    from policylearn.collator.diffusion import DiffusionCollator
    from policylearn.collator.joint import JointCollator
    from policylearn.collator.patch_collator import PatchCollator
    from policylearn.collator.policy_collator import PolicyCollator
    from policylearn.commands.average import average
    from policylearn.config import Config
    from policylearn.policy.policy import MaskingPolicy
    from policylearn.policy.scores import Scores

_PUBLIC = {
    "learn": "policylearn.api.learn",
    "evaluate": "policylearn.api.evaluate",
    "diagnose": "policylearn.api.look",
    "score": "policylearn.api.look",
    "Config": "policylearn.config",
    "average": "policylearn.commands.average",
    "PolicyCollator": "policylearn.collator.policy_collator",
    "PatchCollator": "policylearn.collator.patch_collator",
    "DenoisingCollator": "policylearn.collator.denoising",
    "DiffusionCollator": "policylearn.collator.diffusion",
    "JointCollator": "policylearn.collator.joint",
    "MaskingPolicy": "policylearn.policy.policy",
    "PolicyArtefact": "policylearn.artefact",
    "load_policy": "policylearn.artefact",
    "save_policy": "policylearn.artefact",
    "Scores": "policylearn.policy.scores",
    "scorer": "policylearn.api.parts",
    "task": "policylearn.api.parts",
    "metric": "policylearn.api.parts",
    "objective": "policylearn.api.parts",
    "estimator": "policylearn.api.parts",
}
__all__ = [
    "Config",
    "DenoisingCollator",
    "DiffusionCollator",
    "JointCollator",
    "MaskingPolicy",
    "PatchCollator",
    "PolicyArtefact",
    "PolicyCollator",
    "Scores",
    "average",
    "diagnose",
    "estimator",
    "evaluate",
    "learn",
    "load_policy",
    "metric",
    "objective",
    "save_policy",
    "score",
    "scorer",
    "task",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'policylearn' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
