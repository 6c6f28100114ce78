"""From a folder, a URI or a name on the Hub to a policy."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.artefact.artefact import PolicyArtefact
from policylearn.artefact.card import HERE
from policylearn.artefact.hub import download
from policylearn.artefact.manifest import (
    AGAIN,
    CARD,
    FORMAT,
    MANIFEST,
    PICTURES,
    POLICY,
    SETTINGS,
    TENSORS,
    TOKENIZER,
    TOKENIZER_SETTINGS,
    read_files,
    read_json,
)
from policylearn.artefact.pictures import read_picture_policy
from policylearn.artefact.tensors import read_tensors
from policylearn.artefact.tokenizer import read_tokenizer, tokenizer_fingerprint
from policylearn.config import MaskingConfig, PolicyConfig
from policylearn.config.places import not_found
from policylearn.config.strict import Strict
from policylearn.masking import TextField, Vocabulary
from policylearn.masking.field import TABLES
from policylearn.masking.vocabulary import ids_of, is_table_of
from policylearn.messages.quote import quote
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import Scores, scorer_of
from policylearn.registry.known import NETWORKS

REASON = 500
"""Characters shown of an error, which may repeat what is in a file."""


class TokenizerIdentity(Strict):
    """Which tokenizer a policy was learned with."""

    fingerprint: str
    size: int
    mask_token: str | None


class Settings(Strict):
    """policy.json."""

    format: int = Field(ge=FORMAT, le=PICTURES)
    tokenizer: TokenizerIdentity | None
    policy: PolicyConfig
    masking: MaskingConfig
    provenance: dict[str, Any]


def load_policy(source: str | os.PathLike[str], revision: str | None = None) -> PolicyArtefact:
    """Load an artefact from a folder, from a URI such as "s3://bucket/run/policy", or from the Hub by "org/name".

    Args:
        source: where it is; a run directory stands for the policy that the run has exported.
        revision: branch, tag or commit on the Hub.

    Raises:
        ValueError: it is not there, incomplete, damaged, or of another format; the message names the file.
        StorageFailed: the place the URI names cannot be reached.
    """
    shown = str(source)
    if "://" not in shown:
        return load_folder(_local_folder(shown, revision), shown)
    if revision is not None:
        raise ValueError(f"policy {shown!r} is a URI, which has no revision {revision!r}: leave it out")
    from policylearn.storage.folder import Storage  # here only: it needs pyarrow, which comes with the extra `train`

    place = Storage.at(shown)
    run = not place.is_file(MANIFEST) and place.is_file(f"{POLICY}/{MANIFEST}")
    with (place / POLICY if run else place).here() as folder:
        return load_folder(folder, shown)


def load_folder(folder: Path, shown: str) -> PolicyArtefact:
    """Load an artefact from a folder on this machine, which the user knows by another name perhaps."""
    files = read_files(folder, shown)
    given = read_json(files[SETTINGS], SETTINGS, shown)
    _check_network(given.get("policy"), shown)
    with _naming(SETTINGS, shown):
        settings = Settings.model_validate(given)
    card = files[CARD].decode(errors="replace").replace(f'("{shown}"', f'("{HERE}"')  # wherever it goes from here
    if TOKENIZER not in files:
        with _naming(TENSORS, shown):
            found = read_picture_policy(files[TENSORS], settings.policy, settings.masking)
        return PolicyArtefact(found, None, settings.provenance, card)
    with _naming(SETTINGS, shown):
        if settings.tokenizer is None:
            raise ValueError("it names no tokenizer")
    with _naming(TENSORS, shown):
        tensors = read_tensors(files[TENSORS], settings.policy)
    with _naming(TOKENIZER, shown):
        given = read_json(
            files[TOKENIZER_SETTINGS], TOKENIZER_SETTINGS, shown, digits=40
        )  # no limit is 10**30 to tokenizers
        tokenizer = read_tokenizer(files[TOKENIZER].decode(), given)
        _check_identity(tokenizer, settings.tokenizer, tensors["segmenter.special"])
    with _naming(TENSORS, shown):
        policy = rebuild(settings.policy, settings.masking, tensors, tokenizer.mask_token_id)
    return PolicyArtefact(policy, tokenizer, settings.provenance, card)


def _check_network(settings: Any, shown: str) -> None:
    """Raises ValueError if the policy has a network that somebody else brings, and it is not here: no file is damaged
    by that."""
    name = settings.get("network") if isinstance(settings, dict) else None
    if not isinstance(name, str):
        return
    if name not in NETWORKS:
        raise ValueError(
            f"policy {shown} has the network {quote(name)}, which is not known here: install the package that brings "
            "it, or import the module that registers it first"
        )
    NETWORKS.get(name)  # which says what is wrong with the package


@contextmanager
def _naming(name: str, shown: str) -> Iterator[None]:
    """Whatever a file turns out not to be, its name is said."""
    try:
        yield
    except Exception as error:  # storage boundary: tokenizers raise nothing more precise
        reason = " ".join(str(error).split())[:REASON]
        known = reason.startswith(f"policy {shown}:")
        raise ValueError(reason if known else f"policy {shown}: {name} is damaged: {reason}; {AGAIN}") from error


def rebuild(config: PolicyConfig, masking: MaskingConfig, tensors: dict[str, Tensor], mask: int) -> MaskingPolicy:
    """A policy of the right shape; its tensors are then loaded as they are."""
    types, words, lexicon = (tensors[f"scores.{name}"] for name in ("types", "words", "lexicon"))
    names = sorted(config.prior)
    scores = {scorer_of(name): Scores(types[h], words[h]) for h, name in enumerate(names)}
    special, opens, first, last = (tensors[f"segmenter.{name}"] for name in TABLES)
    vocabulary = Vocabulary(special, opens, first, last, mask)
    field = TextField(vocabulary, masking, tensors["segmenter.collocations"])
    features = tensors.get("network.features", torch.zeros(0, 0))
    policy = MaskingPolicy(config, scores, lexicon, features, field)
    policy.load_tensors(tensors)
    return policy.eval()


def _check_identity(tokenizer: PreTrainedTokenizerBase, identity: TokenizerIdentity, special: Tensor) -> None:
    """Raises ValueError if the ids of the tokenizer are not those of the policy."""
    if tokenizer_fingerprint(tokenizer) != identity.fingerprint:
        raise ValueError("the tokenizer in it is not the one the policy was learned with")
    if not is_table_of(tokenizer, special):
        size = ids_of(tokenizer)
        raise ValueError(f"the tokenizer has {size} tokens and {len(special)} are known, or others of them are special")


def _local_folder(source: str, revision: str | None) -> Path:
    if Path(source).is_dir():
        if revision is not None:
            raise ValueError(f"policy {source!r} is a folder, which has no revision {revision!r}: leave it out")
        return Path(source)
    if Path(source).is_file():
        raise ValueError(f"policy {source!r} is a file: give the folder of a policy, which has a {MANIFEST}")
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        there = not_found(source)
        raise ValueError(
            f"policy {source!r} does not exist{there}; give a folder with a {MANIFEST}, or a Hub name org/name"
        )
    return download(source, revision)
