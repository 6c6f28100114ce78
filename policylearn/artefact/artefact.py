"""A policy with what is needed to use it: into a folder, and onto the Hub."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from safetensors.torch import save
from transformers import PreTrainedTokenizerBase

from policylearn.artefact.card import HERE, Use, model_card, plain_card, use_known
from policylearn.artefact.hub import upload
from policylearn.artefact.manifest import (
    CARD,
    FORMAT,
    MANIFEST,
    PATCHES,
    PICTURES,
    SETTINGS,
    TENSORS,
    TOKENIZER,
    TOKENIZER_SETTINGS,
    digest,
)
from policylearn.artefact.tensors import LARGEST_LOGIT, largest_logit
from policylearn.artefact.tokenizer import check_written, first_difference, tokenizer_files, tokenizer_fingerprint
from policylearn.config.places import check_folder
from policylearn.masking.field import text_field
from policylearn.policy.policy import MaskingPolicy

if TYPE_CHECKING:
    from policylearn.report.heatmap import Shown


@dataclass(frozen=True)
class PolicyArtefact:
    """A policy and what is needed to use it.

    Attributes:
        policy: the network with its scores, and the rate, unit, design and corruption it was learned with.
        tokenizer: whose ids it speaks; None: it is over pictures.
        provenance: what it was learned on and with; free JSON.
        card: the model card (README.md) it came with; empty for one that was never saved.
    """

    policy: MaskingPolicy
    tokenizer: PreTrainedTokenizerBase | None
    provenance: dict[str, Any] = field(default_factory=dict)
    card: str = field(default="", repr=False, compare=False)

    @property
    def speaks(self) -> PreTrainedTokenizerBase:
        """The tokenizer. ValueError: the policy is over pictures and has none."""
        if self.tokenizer is None:
            raise ValueError("the policy is over pictures and goes with no tokenizer: PatchCollator masks by it")
        return self.tokenizer

    @property
    def use(self) -> Use:
        """What models it is for, as far as it says."""
        return use_known(self.provenance, pictures=self.tokenizer is None)

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse a tokenizer other than the one the policy was learned with.

        Raises:
            ValueError: token ids would mean something else; it names the first that does. Or the policy is over
                pictures.
        """
        if difference := first_difference(self.speaks, tokenizer):
            known = self.provenance.get("tokenizer", "another tokenizer")
            raise ValueError(
                f"tokenizer {tokenizer.name_or_path!r} ({len(tokenizer)} tokens) does not match the policy, which was "
                f"learned with {known} ({len(self.speaks)} tokens). {difference}. Use the policy's own tokenizer, "
                "or learn a policy for this one"
            )

    def show(self, texts: str | Sequence[str]) -> "Shown":
        """Texts coloured by how likely each token is to be masked, inline in a notebook and readable in a terminal. It
        needs the extra `train`.

        Raises:
            ValueError: there is no text, one is empty, or one has no token that may be masked.
        """
        from policylearn.artefact.heatmaps import inspect_texts  # here only: whoever only masks has no rich
        from policylearn.report.heatmap import Shown

        return Shown(tuple(learned for _, learned in inspect_texts(self.policy, self.speaks, texts)))

    def push_to_hub(
        self,
        name: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        message: str = "Upload a masking policy",
        card: str | None = None,
        license: str | None = None,
        base_model: str | None = None,
        datasets: Sequence[str] | None = None,
    ) -> str:
        """Upload the policy; `PolicyCollator.from_pretrained(name)` uses it from then on.

        Args:
            name: "org/name"; created if it does not exist.
            private: who may see a repository that is created now; None: as the organisation has it.
            revision: branch to upload to, created if it does not exist; None: main.
            message: of the commit.
            card: README.md; None: the one the policy was loaded with.
            license, base_model, datasets: for the header of the card, see `card.model_card`.

        Returns:
            Address of the commit.

        Raises:
            ValueError: no such name, or no right to write there.
        """
        text = card or self.card or plain_card("Masking policy", "Made with policylearn.", self.provenance, self.use)
        pictures = self.tokenizer is None
        header = {"license": license, "base_model": base_model, "datasets": datasets, "pictures": pictures}
        text = model_card(text.replace(f'"{HERE}"', f'"{name}"'), self.provenance, **header)  # type: ignore[arg-type]
        with TemporaryDirectory(prefix="policylearn-") as folder:
            written = save_policy(folder, self, text)
            return upload(name, written, private=private, revision=revision, message=message)


def save_policy(folder: str | os.PathLike[str], artefact: PolicyArtefact, card: str) -> Path:
    """Write the artefact; the manifest comes last, so a folder with a manifest is complete.

    Raises:
        ValueError: nobody could load it: its tokenizer is not a fast one, lacks a mask or padding token, or is not the
            policy's, or its logits may become too large. Or the folder cannot be one.
    """
    folder = Path(folder)
    check_folder(folder, str(folder))
    files = policy_files(artefact, card)
    (folder / MANIFEST).unlink(missing_ok=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pending = folder / f"{name}.partial"
        pending.write_bytes(data)
        os.replace(pending, folder / name)
    return folder


def policy_files(artefact: PolicyArtefact, card: str) -> dict[str, bytes]:
    """Content of the files by name, the manifest last. ValueError: nobody could load them."""
    _check_logits(artefact.policy)
    tensors = {name: tensor.contiguous() for name, tensor in artefact.policy.tensors().items()}
    files = {CARD: card.encode(), SETTINGS: _json(_settings(artefact)), TENSORS: save(tensors)}
    if artefact.tokenizer is not None:
        backend, settings = tokenizer_files(artefact.tokenizer)
        check_written(artefact.tokenizer, backend, settings, text_field(artefact.policy.field).special)
        files |= {TOKENIZER: backend.encode(), TOKENIZER_SETTINGS: settings.encode()}
    digests = {name: digest(files[name]) for name in sorted(files)}
    kind: dict[str, Any] = {"format": PICTURES, "of": PATCHES} if artefact.tokenizer is None else {"format": FORMAT}
    return files | {MANIFEST: _json(kind | {"files": digests})}


def _check_logits(policy: MaskingPolicy) -> None:
    """Raises ValueError where a policy would be refused as damaged, which it is not."""
    if not (largest := largest_logit(policy.tensors(), policy.config)) < LARGEST_LOGIT:
        raise ValueError(
            f"logits of the policy may become as large as {largest:.0e}, {LARGEST_LOGIT:.0e} is too large: "
            f"lower policy.prior, or see to the bounds of the network {policy.config.network!r}"
        )


def _settings(artefact: PolicyArtefact) -> dict[str, Any]:
    tokenizer = artefact.tokenizer
    return {
        "format": PICTURES if tokenizer is None else FORMAT,
        "tokenizer": tokenizer
        and {
            "fingerprint": tokenizer_fingerprint(tokenizer),
            "size": len(tokenizer),
            "mask_token": tokenizer.mask_token,
        },
        "policy": artefact.policy.config.model_dump(mode="json"),
        "masking": artefact.policy.masking.model_dump(mode="json"),
        "provenance": artefact.provenance,
    }


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
