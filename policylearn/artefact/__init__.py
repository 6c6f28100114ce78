"""The policy on disk: a folder of JSON, safetensors and a model card, with a manifest written last.

    policy.json          format version, tokenizer fingerprint, masking (rate, unit, design), network, provenance
    policy.safetensors   every tensor of the policy
    tokenizer/           the tokenizer whose ids the policy speaks
    README.md            model card
    manifest.json        SHA-256 and size of the other files

Nothing in it is executed on loading: no pickle, no code. Nothing outside of the folder is read, and no more memory is
taken than its files have bytes for. Whatever is wrong with a folder is a ValueError that names the file.
"""

from policylearn.artefact.artefact import PolicyArtefact, save_policy
from policylearn.artefact.loading import load_policy
from policylearn.artefact.manifest import CARD, MANIFEST
from policylearn.artefact.tokenizer import tokenizer_fingerprint

__all__ = ["CARD", "MANIFEST", "PolicyArtefact", "load_policy", "save_policy", "tokenizer_fingerprint"]
