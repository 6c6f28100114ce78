"""The tokenizer of a config: a fast one with a mask, and that of the model it feeds."""

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from policylearn.config import ModelConfig
from policylearn.masking.vocabulary import SAMPLE, check_mask
from policylearn.models.agreement import first_difference
from policylearn.models.checkpoint import check_exists, quiet, reason

SENTINEL = "<extra_id_0>"
LEAST = 2
"""Words of a vocabulary. Where a folder has no tokenizer, transformers makes one up of special tokens alone."""


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of a model's config: that of `tokenizer`, or the checkpoint's own.

    Raises:
        ValueError: there is none, it cannot be loaded, has no mask or padding token, or one for both, is not a fast
            one, cannot read what it does not know, or is not that of the checkpoint.
    """
    name, key = config.tokenizer or config.name, "model.tokenizer" if config.tokenizer else "model.name"
    assert name is not None, "what is built from scratch has a tokenizer of its own"
    revision = config.revision if name == config.name or config.name is None else None
    tokenizer = _read(name, key, config.trust_remote_code, revision)
    if config.name and config.tokenizer:
        difference = difference_to_own(tokenizer, config.name, config.trust_remote_code, config.revision)
        if difference:
            raise ValueError(
                f"model.tokenizer {config.tokenizer!r} is not the tokenizer of model.name {config.name!r}: "
                f"{difference}. Unset it: model.tokenizer= with nothing after the sign"
            )
    if not tokenizer.is_fast:
        raise ValueError(f"tokenizer {name!r} is a slow one; policylearn needs its fast version (tokenizer.json)")
    if tokenizer.mask_token is None and SENTINEL in tokenizer.get_vocab():
        tokenizer.mask_token = SENTINEL  # of T5: it stands for what is left out
    for token in ("mask_token", "pad_token"):
        if getattr(tokenizer, token) is None:
            raise ValueError(f"tokenizer {name!r} has no {token}: masked language modelling needs one")
    check_mask(tokenizer, f"tokenizer {name!r}")
    _check_reads(tokenizer, key, name)
    return tokenizer


def _check_reads(tokenizer: PreTrainedTokenizerBase, key: str, name: str) -> None:
    """Refuse one that fails on what it does not know, before texts are read of which it knows all, and no policy of it
    could be saved."""
    try:
        tokenizer(SAMPLE)
    except Exception as error:  # boundary of tokenizers, which has no exceptions of its own
        raise ValueError(
            f"{key} {name!r} cannot read what is not in its vocabulary ({reason(error)}): give the model in its "
            "tokenizer.json an unk_token and the vocabulary that token, or set another"
        ) from error


def brings_tokenizer(config: ModelConfig) -> bool:
    """Whether the checkpoint of a model's config has a tokenizer of its own."""
    assert config.name is not None
    try:
        return bool(_read(config.name, "model.name", config.trust_remote_code, config.revision))
    except ValueError:  # it brings none
        return False


def _read(name: str, key: str, trust: bool, revision: str | None) -> PreTrainedTokenizerBase:
    check_exists(key, name, revision)
    try:
        with quiet():
            found = AutoTokenizer.from_pretrained(name, trust_remote_code=trust, revision=revision)
    except Exception as error:  # storage boundary: a foreign file fails in any way it likes
        raise ValueError(f"tokenizer {name!r} cannot be loaded: {reason(error)}") from error
    if len(found.get_vocab().keys() - set(found.all_special_tokens)) < LEAST:
        raise ValueError(f"{key} {name!r} comes without the vocabulary of a tokenizer: set model.tokenizer to one")
    return found


def difference_to_own(
    given: PreTrainedTokenizerBase, name: str, trust: bool = False, revision: str | None = None
) -> str:
    """Where the ids of a tokenizer mean other tokens to a checkpoint, as far as that brings a tokenizer to compare."""
    try:
        own = _read(name, "model.name", trust, revision)
    except ValueError:  # it brings none: whether it has embeddings enough is seen later
        return ""
    return first_difference(own.get_vocab(), given.get_vocab())
