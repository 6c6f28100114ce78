"""From a policy to a folder."""

import json
import os
from pathlib import Path
from typing import Any

from safetensors.torch import save

from policylearn.artefact.artefact import PolicyArtefact
from policylearn.artefact.manifest import (
    CARD,
    FORMAT,
    MANIFEST,
    SETTINGS,
    TENSORS,
    TOKENIZER,
    TOKENIZER_SETTINGS,
    digest,
)
from policylearn.artefact.tokenizer import tokenizer_files, tokenizer_fingerprint


def save_policy(folder: str | os.PathLike[str], artefact: PolicyArtefact, card: str) -> Path:
    """Write the artefact; the manifest comes last, so a folder with a manifest is complete.

    Raises:
        ValueError: its tokenizer is not a fast one.
    """
    folder = Path(folder)
    files = policy_files(artefact, card)
    (folder / MANIFEST).unlink(missing_ok=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pending = folder / f"{name}.partial"
        pending.write_bytes(data)
        os.replace(pending, folder / name)
    return folder


def policy_files(artefact: PolicyArtefact, card: str) -> dict[str, bytes]:
    """Content of the files by name, the manifest last."""
    backend, settings = tokenizer_files(artefact.tokenizer)
    tensors = {name: tensor.contiguous() for name, tensor in artefact.policy.state_dict().items()}
    files = {
        CARD: card.encode(),
        SETTINGS: _json(_settings(artefact)),
        TENSORS: save(tensors),
        TOKENIZER: backend.encode(),
        TOKENIZER_SETTINGS: settings.encode(),
    }
    digests = {name: digest(files[name]) for name in sorted(files)}
    return files | {MANIFEST: _json({"format": FORMAT, "files": digests})}


def _settings(artefact: PolicyArtefact) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "tokenizer": {
            "fingerprint": tokenizer_fingerprint(artefact.tokenizer),
            "size": len(artefact.tokenizer),
            "mask_token": artefact.tokenizer.mask_token,
        },
        "policy": artefact.policy.config.model_dump(mode="json"),
        "masking": artefact.policy.masking.model_dump(mode="json"),
        "provenance": artefact.provenance,
    }


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
