"""Models whose vocabulary head is not known by their type: the whole model is run, and its logits picked.

What such a model is given is token ids (or their embeddings) and, where it takes one, the attention mask; positions,
token types, boxes and the like are those that it takes by itself.
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from policylearn.masking import IGNORED
from policylearn.models.checkpoint import reason
from policylearn.models.device import twice_differentiable
from policylearn.models.heads import has_known_head
from policylearn.models.model import Blend, InnerModel
from policylearn.models.seq2seq import KINDS, Seq2SeqModel, shifted


def inner_model(mlm: PreTrainedModel, bf16: bool = False, remark: str = "") -> InnerModel:
    """The inner model of a masked language model or encoder–decoder in evaluation mode, by what is known of its type.

    Raises:
        ValueError: nothing is known of it, and it cannot be run on token ids alone.

    >>> from transformers import AlbertConfig, AlbertForMaskedLM, BertConfig, BertForMaskedLM
    >>> fields = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
    >>> type(inner_model(BertForMaskedLM(BertConfig(**fields)).eval())).__name__
    'InnerModel'
    >>> type(inner_model(AlbertForMaskedLM(AlbertConfig(embedding_size=4, **fields)).eval())).__name__
    'WholeModel'
    """
    if mlm.config.is_encoder_decoder:
        return (Seq2SeqModel if mlm.config.model_type in KINDS else WholeSeq2Seq)(mlm, bf16, remark)
    return (InnerModel if has_known_head(mlm) else WholeModel)(mlm, bf16, remark)


class Whole(InnerModel):
    """What an `InnerModel` of any type needs besides its logits; it is tried on a short text when it is made.

    Whether the engines can differentiate it is up to its operations: `replay` and `one_step` need forward mode of them
    (as credits do; that is tried as well), `replay` and `unroll` double backward. Where a model reads padding (FNet,
    Funnel, MobileBERT), derivatives are those that torch takes: none go through the embedding of padding.

    Raises:
        ValueError: it does not say one hidden state and V logits for every token.
    """

    def __init__(self, mlm: PreTrainedModel, bf16: bool = False, remark: str = "") -> None:
        super().__init__(mlm, bf16, remark)
        self.takes = frozenset(inspect.signature(mlm.forward).parameters)
        self.blends = "inputs_embeds" in self.takes and isinstance(mlm.get_input_embeddings(), nn.Embedding)
        self._try_out()

    def seen(self, input_ids: Tensor, real: Tensor, blend: Blend | None) -> dict[str, Tensor]:
        """As of any model, without an attention mask where the model takes none.

        Raises:
            ValueError: embeddings are to be blended, and the model does not say the same of them as of their ids.
        """
        if blend is not None and not self.blends:
            raise ValueError(
                f"learn.estimator 'relaxed' shows a model embeddings in place of tokens, and model type "
                f"{self.mlm.config.model_type!r} does not read them as it reads tokens: set learn.estimator='credit'"
            )
        return {name: x for name, x in super().seen(input_ids, real, blend).items() if name in self.takes}

    @torch.no_grad()
    def _try_out(self) -> None:
        try:
            weight: Any = self.mlm.get_input_embeddings().weight
            pad = getattr(self.mlm.config, "pad_token_id", None)
            ids = torch.tensor([[i for i in range(len(weight)) if i != pad][:6]], device=weight.device)
            real, none = torch.ones_like(ids, dtype=torch.bool), Blend(torch.zeros_like(ids), ids, ids)
            features, logits = self.encode(ids, real), self.masked_logits(ids, real, ids)
            blended = self.masked_logits(ids, real, ids, none) if self.blends else logits
            with torch.enable_grad():  # some refuse to be trained without dropout
                torch.autograd.grad(self.masked_logits(ids, real, ids).sum(), weight, allow_unused=True)
        except Exception as error:  # code of others, which fails in any way it likes
            raise self._unusable(reason(error)) from error
        if features.ndim != 3 or features.shape[:2] != ids.shape or len(logits) != ids.numel():
            raise self._unusable(f"{ids.numel()} tokens give states {[*features.shape]}, logits {[*logits.shape]}")
        self.blends &= torch.allclose(blended, logits, rtol=1e-3, atol=1e-4)
        self.no_forward_mode = self._try_forward_mode(ids, real)

    def _try_forward_mode(self, ids: Tensor, real: Tensor) -> str:
        """What to say where there is none."""
        point = {name: p.detach() for name, p in self.named_parameters()}
        still = {name: torch.zeros_like(p) for name, p in point.items()}
        try:
            with twice_differentiable():
                torch.func.jvp(
                    lambda at: torch.func.functional_call(self, at, (ids, real), {"labels": ids}), (point,), (still,)
                )
        except Exception:  # operations of others, which say in any way they like that they have none
            return (
                f"model type {self.mlm.config.model_type!r} has operations without forward-mode derivatives, which "
                "credits and the engines replay and one_step need: take another model, or inner.engine='unroll' and "
                "learn.stages without 'expected'"
            )
        return ""

    def _unusable(self, why: str) -> ValueError:
        kind = self.mlm.config.model_type
        return ValueError(f"model type {kind!r} cannot be run on token ids alone: {why}; take another model")


class WholeModel(Whole):
    """A masked language model of any type.

    The vocabulary head runs on *all* positions, which takes B · T · V numbers for the logits, and as many for every
    derivative of them that is kept; a head in `HEADS` takes M · V, about a seventh of that. If memory runs out, lower
    inner.micro_batch.
    """

    def masked_logits(self, input_ids: Tensor, real: Tensor, labels: Tensor, blend: Blend | None = None) -> Tensor:
        """The model's own logits at masked positions, [M, V]."""
        return self.mlm(**self.seen(input_ids, real, blend)).logits[labels != IGNORED]


class WholeSeq2Seq(Whole, Seq2SeqModel):
    """An encoder–decoder of any type. Its decoder begins as the model itself would begin for labels, and its vocabulary
    head runs on all positions, as in `WholeModel`."""

    def token_logits(
        self, tokens: Tensor, at: Tensor, input_ids: Tensor, real: Tensor, blend: Blend | None = None
    ) -> Tensor:
        """The model's own logits of tokens [B, A] where `at` [B, A] holds, [M, V]."""
        model: Any = self.mlm
        given = given_to_decoder(model, tokens)
        return model(**self.seen(input_ids, real, blend), decoder_input_ids=given, use_cache=False).logits[at]


def given_to_decoder(model: Any, tokens: Tensor) -> Tensor:
    """What an encoder–decoder of any type gives its decoder to predict tokens [B, A], -100 in padding."""
    own = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    return shifted(tokens, model.config) if own is None else own(labels=tokens)
