"""What a policy is made from and with, and what is kept of one that a user gives, so that it is known again."""

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save

from policylearn.artefact import load_policy
from policylearn.artefact.pictures import SCALE
from policylearn.config import Config
from policylearn.data.formats import format_of
from policylearn.policy.policy import MaskingPolicy

Origin = dict[str, Any]
"""Of a policy that was loaded: `source`, from where, `sha256`, its fingerprint, and `scorers`, by which it goes."""


def provenance(config: Config) -> dict[str, str]:
    """What a policy of this config is made from and with; names of files, not the folders they were in.

    This is what goes along with a policy. What a run keeps in its own folder has paths, and the command, as typed.
    """
    model = config.model.name or f"{config.model.architecture.get('model_type')} from scratch"
    tokenizer = last_part(config.model.tokenizer or config.model.name or config.task.path)
    facts = {
        "run": config.name,
        "model": last_part(model),
        **({} if config.patches.words else {"tokenizer": tokenizer}),
        "task": last_part(config.task.path),
        "domain": last_part(config.domain.path),
        "general": last_part(config.general.path),
        "python": platform.python_version(),
    }
    if config.model.revision is not None:
        facts["revision"] = config.model.revision
    if config.inner.objective != "masked_lm":
        facts["objective"] = config.inner.objective
    if "supervised" in config.learn.stages:
        path = f" in {last_part(config.supervised.path)}" if config.supervised.path else ""
        facts["targets"] = f"{config.supervised.targets}{path}"
    return facts | {package: version(package) for package in ("policylearn", "torch", "transformers")}


def last_part(name: str) -> str:
    """A path without the folders it happens to lie in; Hub names keep their organisation.

    >>> last_part("org/bert"), last_part("my/texts.txt"), last_part("../models/bert")
    ('org/bert', 'texts.txt', 'bert')
    """
    is_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or format_of(Path(name)) is not None
    return Path(name).name if is_path or Path(name).exists() else name


LATER = {"random_token_ids": None, "copies": 1}
"""Settings of masking that there were not at first: policies that do not use them are what they were."""


def fingerprint(policy: MaskingPolicy) -> str:
    """SHA-256 of all that decides what a policy masks: settings of network and masking, and tensors; but not the usual
    scale of pixels, which earlier policies do not have."""
    tensors = {name: x for name, x in policy.tensors().items() if not (name == SCALE and x.eq(0.5).all())}
    digest, masking = hashlib.sha256(save(tensors)), policy.masking
    unset = {name for name, usual in LATER.items() if getattr(masking, name) == usual}
    for settings in (policy.config.model_dump_json(), masking.model_dump_json(exclude=unset)):
        digest.update(settings.encode())
    return digest.hexdigest()


def origin(source: str | os.PathLike[str], policy: MaskingPolicy) -> Origin:
    """What to keep of a policy that was loaded from `source`: a folder, which is remembered as an absolute path, a URI
    or a Hub name."""
    place = os.path.abspath(source) if Path(source).is_dir() else str(source)
    return {"source": place, "sha256": fingerprint(policy), "scorers": policy.names}


def load_again(kept: Origin) -> MaskingPolicy:
    """The policy that `origin` was told of.

    Raises:
        ValueError: it is not there any more, or is another one by now.
    """
    policy = load_policy(kept["source"]).policy
    if fingerprint(policy) != kept["sha256"]:
        raise ValueError(f"policy {kept['source']} has changed since the run was made with it: put that one back")
    return policy
