"""The policy on disk: a folder of JSON, safetensors and a model card, with a manifest written last.

    policy.json          format version, tokenizer fingerprint, masking (rate, unit, design), network, provenance
    policy.safetensors   every tensor of the policy
    tokenizer/           the tokenizer whose ids the policy speaks
    README.md            model card
    manifest.json        SHA-256 and size of the other files

Nothing in it is executed on loading: no pickle, no code, and the manifest names no path out of the folder.
"""

import copy
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from policylearn.config import MaskingConfig, PolicyConfig
from policylearn.masking import Segmenter, Vocabulary
from policylearn.masking.segmenter import TABLES
from policylearn.policy import MaskingPolicy
from policylearn.scores.table import Scores, scorer_of

FORMAT = 2
SETTINGS, TENSORS, CARD, MANIFEST = "policy.json", "policy.safetensors", "README.md", "manifest.json"
TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class PolicyArtefact:
    """A policy and what is needed to use it.

    Attributes:
        policy: the network with its scores, and the rate, unit, design and corruption it was learned with.
        tokenizer: whose ids it speaks.
        provenance: what it was learned on and with; free JSON.
    """

    policy: MaskingPolicy
    tokenizer: PreTrainedTokenizerBase
    provenance: dict[str, Any] = field(default_factory=dict)

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse a tokenizer other than the one the policy was learned with.

        Raises:
            ValueError: token ids would mean something else.
        """
        if tokenizer_fingerprint(tokenizer) != tokenizer_fingerprint(self.tokenizer):
            known = self.provenance.get("tokenizer", "another tokenizer")
            raise ValueError(
                f"tokenizer {tokenizer.name_or_path!r} ({len(tokenizer)} tokens) does not match the policy, which "
                f"was learned with {known} ({len(self.tokenizer)} tokens): use that one, or learn a policy for "
                "this one"
            )


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of the vocabulary, token by token in id order, and of the special ids."""
    digest = hashlib.sha256()
    for token, index in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        digest.update(f"{index}\t{token}\n".encode())
    digest.update(json.dumps(sorted(tokenizer.all_special_ids)).encode())
    return digest.hexdigest()


def save_policy(folder: str | Path, artefact: PolicyArtefact, card: str) -> Path:
    """Write the artefact; the manifest comes last, so a folder with a manifest is complete."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in artefact.policy.state_dict().items()}
    save_file(tensors, folder / TENSORS)
    (folder / SETTINGS).write_text(json.dumps(_settings(artefact), indent=2) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")
    _unlimited(artefact.tokenizer).save_pretrained(folder / TOKENIZER)
    written = [
        SETTINGS,
        TENSORS,
        CARD,
        *(f"{TOKENIZER}/{path.name}" for path in (folder / TOKENIZER).iterdir()),
    ]
    files = {name: _digest(folder / name) for name in sorted(written)}
    pending = folder / f"{MANIFEST}.partial"
    pending.write_text(json.dumps({"format": FORMAT, "files": files}, indent=2) + "\n", encoding="utf-8")
    os.replace(pending, folder / MANIFEST)
    return folder


def load_policy(source: str | os.PathLike[str]) -> PolicyArtefact:
    """Load an artefact from a folder, from a URI such as "s3://bucket/run/policy", or from the Hub by "org/name".

    Raises:
        ValueError: it is not there, incomplete, damaged, or of a newer format.
        StorageFailed: the place the URI names cannot be reached.
    """
    if "://" not in str(source):
        return _load(_local_folder(str(source)), str(source))
    from policylearn.storage import Storage  # here only: it needs pyarrow, which comes with the extra `train`

    with Storage.at(str(source)).here() as folder:
        return _load(folder, str(source))


def _load(folder: Path, shown: str) -> PolicyArtefact:
    _verify(folder, shown)
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        config = PolicyConfig.model_validate(settings["policy"])
        masking = MaskingConfig.model_validate(settings["masking"])
        tensors = load_file(folder / TENSORS)
        policy = _rebuild(config, masking, tensors)
        tokenizer = AutoTokenizer.from_pretrained(folder / TOKENIZER, local_files_only=True, trust_remote_code=False)
        artefact = PolicyArtefact(policy, tokenizer, settings["provenance"])
        fingerprint = settings["tokenizer"]["fingerprint"]
    except (KeyError, ValueError, RuntimeError, OSError, SafetensorError) as error:  # storage boundary
        raise ValueError(f"policy {shown} cannot be read although its files are whole: {error}") from error
    if tokenizer_fingerprint(tokenizer) != fingerprint:
        raise ValueError(f"policy {shown}: the tokenizer in it is not the one the policy was learned with")
    return artefact


def _unlimited(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A copy that has forgotten the truncation and padding of whatever call came last."""
    tokenizer = copy.deepcopy(tokenizer)
    if backend := getattr(tokenizer, "backend_tokenizer", None):
        backend.no_truncation()
        backend.no_padding()
    return tokenizer


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


def _rebuild(config: PolicyConfig, masking: MaskingConfig, tensors: dict[str, torch.Tensor]) -> MaskingPolicy:
    """A policy of the right shape; its tensors are then loaded as they are."""
    types, words, lexicon = (tensors[f"scores.{name}"] for name in ("types", "words", "lexicon"))
    names = sorted(config.prior)
    scores = {scorer_of(name): Scores(types[h], words[h]) for h, name in enumerate(names)}
    vocabulary = Vocabulary(*(tensors[f"segmenter.{name}"] for name in TABLES))
    segmenter = Segmenter(vocabulary, masking, tensors["segmenter.collocations"])
    features = tensors.get("network.features", torch.zeros(0, 0))
    policy = MaskingPolicy(config, scores, lexicon, features, segmenter)
    policy.load_state_dict(tensors)
    return policy.eval()


def _local_folder(source: str) -> Path:
    if (Path(source)).is_dir():
        return Path(source)
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise ValueError(f"policy {source!r} does not exist; give a folder with a {MANIFEST}, or a Hub name org/name")
    try:
        return Path(snapshot_download(source, allow_patterns=[SETTINGS, TENSORS, CARD, MANIFEST, f"{TOKENIZER}/*"]))
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:  # storage boundary
        raise ValueError(f"policy {source!r} is neither a folder nor to be had from the Hub: {error}") from error


def _verify(folder: Path, shown: str) -> None:
    if not (folder / MANIFEST).is_file():
        raise ValueError(f"policy {shown} has no {MANIFEST}: it is not a policy, or was not written to the end")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version, files = int(manifest["format"]), dict(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:  # storage boundary
        raise ValueError(f"policy {shown}: {MANIFEST} is damaged: {error}") from error
    if version < FORMAT:
        raise ValueError(f"policy {shown} has format {version}, this policylearn reads {FORMAT}: export it again")
    if version > FORMAT:
        raise ValueError(f"policy {shown} has format {version}, this policylearn reads up to {FORMAT}: upgrade it")
    for name in {SETTINGS, TENSORS, *files}:
        # Judged by name: the files of a Hub snapshot are links into the store of its cache.
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        if not inside or name not in files or not (folder / name).is_file() or _digest(folder / name) != files[name]:
            raise ValueError(f"policy {shown}: {name} is missing or does not match the manifest; copy it again")


def _digest(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
