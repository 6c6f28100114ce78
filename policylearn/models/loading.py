"""Inner models: a checkpoint, or an architecture with random weights; a masked language model or an encoder–decoder."""

import difflib
from collections.abc import Mapping
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from policylearn.config import ModelConfig
from policylearn.masking.vocabulary import ids_of
from policylearn.models.agreement import check_length, check_rows, other_padding
from policylearn.models.checkpoint import check_exists, head_remark, load_weights, reason
from policylearn.models.model import InnerModel
from policylearn.models.tokenizer import brings_tokenizer
from policylearn.models.whole import inner_model

FROM_ZERO = ("bert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "modernbert", "bart", "t5")
"""Model types whose positions are known not to begin after that of the padding token's id, as RoBERTa's do."""


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
        ValueError: the checkpoint does not exist, is neither masked language model nor encoder–decoder, or one that
            cannot be run on token ids alone, lacks weights of its encoder, or has too few embeddings or positions; or
            `architecture` is wrong.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU anew
        if config.name:
            mlm, missing = _from_checkpoint(config, attention)
        else:
            mlm, missing = _from_scratch(config, vocab_size, pad_id, attention, ends or {}), []
    check_rows(mlm, vocab_size, _named(config))
    check_length(mlm, config.max_length)
    remark = head_remark(mlm, missing)
    return inner_model(mlm.float().eval(), config.bf16, remark and f"model.name {config.name}: {remark}")


def check_goes_with(config: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> str:
    """Refuse a model that has not the embeddings or positions for what a tokenizer will make of texts. No weight is
    read for that, so that it is known before any text is.

    Returns:
        what makes it doubtful whether the tokenizer is that of the model, in words; empty: nothing.

    Raises:
        ValueError: as `load_model`.
    """
    if config.name is None:
        with torch.device("meta"):
            outline = _from_scratch(config, ids_of(tokenizer), tokenizer.pad_token_id, None, {})
    else:
        auto, found = _kind_of(config)
        if config.trust_remote_code:  # which may do anything when it is run, and need not work without weights
            return _doubt(config, found, tokenizer)
        try:
            with torch.device("meta"):
                outline = auto.from_config(found)
        except Exception as error:  # storage boundary: a foreign config fails in any way it likes
            raise _no_model(config.name, error) from error
    check_rows(outline, ids_of(tokenizer), _named(config))
    check_length(outline, config.max_length)
    return _doubt(config, outline.config, tokenizer)


def _named(config: ModelConfig) -> str:
    return f"model {config.name}" if config.name else "model.architecture"


def _doubt(config: ModelConfig, found: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
    told = [padding] if (padding := other_padding(found, tokenizer)) else []
    size, given = getattr(found, "vocab_size", None), len(tokenizer)
    if config.name and config.tokenizer and size != given and not brings_tokenizer(config):
        told.append(f"it brings no tokenizer to compare model.tokenizer with, and has {size} tokens, this one {given}")
    return f"{config.name or 'model.architecture'}: {'; '.join(told)}: is the tokenizer its own?" if told else ""


def _kind_of(config: ModelConfig) -> tuple[Any, PreTrainedConfig]:
    """The class of transformers that loads a checkpoint, and the checkpoint's config."""
    assert config.name is not None
    check_exists("model.name", config.name, config.revision)
    try:
        found = AutoConfig.from_pretrained(
            config.name, trust_remote_code=config.trust_remote_code, revision=config.revision
        )
    except Exception as error:  # storage boundary: a foreign file fails in any way it likes
        raise _no_model(config.name, error) from error
    return AutoModelForSeq2SeqLM if found.is_encoder_decoder else AutoModelForMaskedLM, found


def _no_model(name: str, error: Exception) -> ValueError:
    known = "BERT, RoBERTa, DeBERTa, ModernBERT, T5 and others of AutoModelForMaskedLM or AutoModelForSeq2SeqLM"
    return ValueError(f"model.name {name!r} cannot be loaded as a masked language model ({known}): {reason(error)}")


def _from_checkpoint(config: ModelConfig, attention: str | None) -> tuple[PreTrainedModel, list[str]]:
    auto, _ = _kind_of(config)
    settings: dict[str, Any] = {"trust_remote_code": config.trust_remote_code, "revision": config.revision}
    assert config.name is not None
    return load_weights(
        auto, config.name, "model.name", "a masked language model", attn_implementation=attention, **settings
    )


def _from_scratch(
    config: ModelConfig, vocab_size: int, pad_id: int, attention: str | None, ends: Mapping[str, int]
) -> PreTrainedModel:
    fields = dict(config.architecture)
    kind = fields.pop("model_type", None)
    if kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES and kind not in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        given = "no model_type" if kind is None else f"model_type {kind!r}"
        raise ValueError(
            f"model.architecture has {given}; transformers builds a masked language model from, for example, 'bert'"
        )
    known = AutoConfig.for_model(kind)
    if unknown := [name for name in fields if not hasattr(known, name)]:
        near = difflib.get_close_matches(unknown[0], known.to_dict(), n=1, cutoff=0.0)[0]
        raise ValueError(f"model.architecture.{unknown[0]}: {kind!r} has no such field; did you mean {near!r}?")
    before = 2 if kind in FROM_ZERO else max(2, pad_id + 1)
    given_by_texts = {
        "vocab_size": vocab_size,
        "pad_token_id": pad_id,
        "max_position_embeddings": config.max_length + before,
    }
    if known.is_encoder_decoder:
        auto: Any = AutoModelForSeq2SeqLM
        settings = {**given_by_texts, **_ends(kind, pad_id, ends), **fields}
    else:
        auto = AutoModelForMaskedLM
        settings = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, **given_by_texts, **fields}
    try:
        return auto.from_config(AutoConfig.for_model(kind, **settings), attn_implementation=attention)
    except Exception as error:  # fault boundary: transformers raises whatever it likes
        said = f"{type(error).__name__}: {reason(error)}"
        raise ValueError(f"model.architecture cannot be built as {kind!r}: {said}") from error


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
