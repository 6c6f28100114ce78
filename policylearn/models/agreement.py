"""Whether a tokenizer, a model and a length of text go together, known before any text is read."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

POSITIONS = ("position_embeddings", "embed_positions")
"""What modules are called that hold a vector for every position."""


def usable_positions(model: PreTrainedModel) -> int | None:
    """Tokens that a text may have, special ones included; None: any number, as with relative or rotary positions.

    RoBERTa's positions begin after that of padding, and BART's table has two rows before the first position.
    Nyströmformer's has as many, and the positions that it counts are fewer.

    >>> from transformers import AutoConfig, AutoModelForMaskedLM
    >>> def positions(kind, **fields):
    ...     with torch.device("meta"):
    ...         return usable_positions(AutoModelForMaskedLM.from_config(AutoConfig.for_model(kind, **fields)))
    >>> positions("bert"), positions("roberta", max_position_embeddings=514, pad_token_id=1), positions("modernbert")
    (512, 512, None)
    """
    tables = [_rows(module) for name, module in model.named_modules() if name.endswith(POSITIONS) and _is_table(module)]
    counted = [buffer.shape[-1] for name, buffer in model.named_buffers() if name.endswith("position_ids")]
    return min(tables + counted) if tables else None  # DeBERTa counts positions also where it has no table of them


def _is_table(module: Any) -> bool:
    """An `nn.Embedding`, or one of its kind, such as I-BERT's; M2M100's sinusoids, which grow with a text, are none."""
    return hasattr(module, "padding_idx") and getattr(getattr(module, "weight", None), "ndim", 0) == 2


def _rows(table: Any) -> int:
    reserved = getattr(table, "offset", 0) if table.padding_idx is None else table.padding_idx + 1
    return len(table.weight) - reserved


def check_length(model: PreTrainedModel, length: int, key: str = "model.max_length") -> None:
    """Raises ValueError if texts of so many tokens have more than the model has positions for."""
    positions = usable_positions(model)
    if positions is not None and length > positions:
        raise ValueError(f"{key} {length}: the model has {positions} positions; set {key}={positions}")


def check_rows(model: PreTrainedModel, size: int, name: str) -> None:
    """Raises ValueError if the tokenizer, of `size` ids, has some that the model called `name` has no embedding of."""
    weight = getattr(model.get_input_embeddings(), "weight", None)
    if not isinstance(weight, torch.Tensor):
        raise ValueError(f"{name}: model type {model.config.model_type!r} has no token embeddings; take another")
    if len(weight) < size:
        raise ValueError(
            f"{name}: {len(weight)} token embeddings, but the tokenizer has {size} tokens: take the tokenizer that "
            "belongs to the model, or unset a vocab_size of yours"
        )


def other_padding(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
    """Where the config of a model names another padding token than the tokenizer, in words. A model may go by it, as
    RoBERTa counts positions; of other special tokens many configs say what is true of no tokenizer of theirs.

    >>> from policylearn.config import PlantedConfig
    >>> from policylearn.data.planted import planted_tokenizer
    >>> from transformers import BertConfig
    >>> other_padding(BertConfig(pad_token_id=1), planted_tokenizer(PlantedConfig()))
    "pad_token_id is 1 in its config and 0, '[PAD]', in the tokenizer"
    """
    own, given = getattr(config, "pad_token_id", None), tokenizer.pad_token_id
    if own is None or own == given:
        return ""
    return f"pad_token_id is {own} in its config and {given}, {tokenizer.pad_token!r}, in the tokenizer"


def first_difference(own: Mapping[str, int], given: Mapping[str, int]) -> str:
    """Where two vocabularies, token → id, contradict each other; nothing where one only has more tokens than the other.

    >>> first_difference({"a": 0, "b": 1}, {"a": 0, "b": 1, "c": 2})
    ''
    >>> first_difference({"a": 0, "b": 1}, {"b": 0, "a": 1})
    "id 0 is 'a' in the one and 'b' in the other"
    """
    names, others = ({i: token for token, i in vocabulary.items()} for vocabulary in (own, given))
    for i in sorted(names.keys() & others.keys()):
        if names[i] != others[i]:
            return f"id {i} is {names[i]!r} in the one and {others[i]!r} in the other"
    return ""
