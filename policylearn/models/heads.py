"""Vocabulary heads that are known by model type: they run on masked positions alone, most of the cost of a small model.

Of any other type `models/whole.py` runs the whole model."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel


def _cls(mlm: Any, hidden: Tensor) -> Tensor:
    return mlm.cls(hidden)


def _lm_head(mlm: Any, hidden: Tensor) -> Tensor:
    return mlm.lm_head(hidden)


def _distilbert(mlm: Any, hidden: Tensor) -> Tensor:
    return mlm.vocab_projector(mlm.vocab_layer_norm(mlm.activation(mlm.vocab_transform(hidden))))


def _modernbert(mlm: Any, hidden: Tensor) -> Tensor:
    return mlm.decoder(mlm.head(hidden))


def _electra(mlm: Any, hidden: Tensor) -> Tensor:
    return mlm.generator_lm_head(mlm.generator_predictions(hidden))


HEADS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    **dict.fromkeys(("bert", "deberta-v2", "deberta", "ernie"), _cls),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert", "mpnet"), _lm_head),
    "distilbert": _distilbert,
    "modernbert": _modernbert,
    "electra": _electra,
}
"""Model type → (masked language model, hidden states [M, d]) → logits [M, V]."""


def has_known_head(mlm: PreTrainedModel) -> bool:
    """Whether the head is that of its type in `HEADS`; by its config, a DeBERTa may have another."""
    return mlm.config.model_type in HEADS and getattr(mlm.config, "legacy", True)


def vocabulary_logits(mlm: PreTrainedModel, hidden: Tensor) -> Tensor:
    """The model's own vocabulary head, which is one of `HEADS`, on hidden states [M, d]; [M, V]."""
    return HEADS[mlm.config.model_type](mlm, hidden)
