"""Inner models: a checkpoint, or an architecture with random weights; a masked language model or an encoder–decoder."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from policylearn.config import ModelConfig
from policylearn.inner.model import InnerModel
from policylearn.inner.seq2seq import KINDS, Seq2SeqModel


def load_model(
    config: ModelConfig,
    vocab_size: int,
    pad_id: int,
    seed: int,
    attention: str | None,
    ends: Mapping[str, int] | None = None,
) -> InnerModel:
    """A fresh model: the named checkpoint, or the architecture with weights drawn from `seed`; a `Seq2SeqModel` where
    its config says that it is an encoder–decoder.

    Dropout is off: inner losses are differentiated and compared.

    Args:
        config: where the model comes from.
        vocab_size: of the tokenizer; an architecture built from scratch gets this many tokens.
        pad_id: padding token id for an architecture built from scratch.
        seed: of the weights of an architecture built from scratch, and of missing heads.
        attention: transformers' `attn_implementation` ("eager" where second derivatives are needed); None: its choice.
        ends: `bos_token_id` and `eos_token_id` of the tokenizer, for an encoder–decoder built from scratch.

    Raises:
        ValueError: the checkpoint does not exist, is neither masked language model nor encoder–decoder, or one whose
            head is not known here, or `architecture` is wrong.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mlm = (
            _from_checkpoint(config.name, config.trust_remote_code, attention)
            if config.name
            else _from_scratch(config, vocab_size, pad_id, attention, ends or {})
        )
    if mlm.config.vocab_size < vocab_size:
        raise ValueError(
            f"model {config.name}: {mlm.config.vocab_size} token embeddings, but the tokenizer has {vocab_size} tokens"
        )
    kind = Seq2SeqModel if mlm.config.is_encoder_decoder else InnerModel
    model = kind(mlm.float().eval(), config.bf16)
    model.vocabulary_logits(torch.zeros(1, mlm.config.hidden_size))  # an unknown head is better found out now
    return model


def _from_checkpoint(name: str, trust: bool, attention: str | None) -> PreTrainedModel:
    check_exists("model.name", name)
    try:
        found = AutoConfig.from_pretrained(name, trust_remote_code=trust)
        auto = AutoModelForSeq2SeqLM if found.is_encoder_decoder else AutoModelForMaskedLM
        return auto.from_pretrained(name, attn_implementation=attention, trust_remote_code=trust)
    except (OSError, ValueError) as error:  # storage boundary: a missing or foreign checkpoint
        raise ValueError(f"model.name {name!r} cannot be loaded as a masked language model: {error}") from error


def _from_scratch(
    config: ModelConfig, vocab_size: int, pad_id: int, attention: str | None, ends: Mapping[str, int]
) -> PreTrainedModel:
    fields = dict(config.architecture)
    kind = fields.pop("model_type", None)
    if kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES and kind not in KINDS:
        given = "no model_type" if kind is None else f"model_type {kind!r}"
        raise ValueError(
            f"model.architecture has {given}; transformers builds a masked language model from, for example, 'bert'"
        )
    known = AutoConfig.for_model(kind)
    if unknown := [name for name in fields if not hasattr(known, name)]:
        near = difflib.get_close_matches(unknown[0], known.to_dict(), n=1, cutoff=0.0)[0]
        raise ValueError(f"model.architecture.{unknown[0]}: {kind!r} has no such field; did you mean {near!r}?")
    given_by_texts = {
        "vocab_size": vocab_size,
        "pad_token_id": pad_id,
        "max_position_embeddings": config.max_length + 2,
    }
    if kind in KINDS:
        architecture = AutoConfig.for_model(kind, **{**given_by_texts, **_ends(kind, pad_id, ends), **fields})
        return AutoModelForSeq2SeqLM.from_config(architecture, attn_implementation=attention)
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    architecture = AutoConfig.for_model(kind, **{**dropout, **given_by_texts, **fields})
    return AutoModelForMaskedLM.from_config(architecture, attn_implementation=attention)


def _ends(kind: str, pad_id: int, ends: Mapping[str, int]) -> dict[str, Any]:
    """Settings of an encoder–decoder that say where text begins and ends. BART's decoder begins with the token that
    ends a text, T5's with padding."""
    first = ends.get("eos_token_id", pad_id) if kind == "bart" else pad_id
    return {**ends, "decoder_start_token_id": first, "forced_eos_token_id": None}


def text_ends(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """`bos_token_id` and `eos_token_id`: tokens of those names, or those that a BERT's tokenizer has in their place."""
    first, last = tokenizer.bos_token_id, tokenizer.eos_token_id
    found = {
        "bos_token_id": tokenizer.cls_token_id if first is None else first,
        "eos_token_id": tokenizer.sep_token_id if last is None else last,
    }
    return {name: token for name, token in found.items() if token is not None}


def check_exists(key: str, name: str) -> None:
    """A name that can only be a path must be there: say so before a Hub look-up hides the mistake.

    Raises:
        ValueError: it looks like a path and does not exist.
    """
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_like_path and not Path(name).expanduser().exists():
        raise ValueError(f"{key} {name!r} does not exist; give a folder with a checkpoint, or a Hub name")
