"""A transformers masked language model, called in the two ways the inner problem needs."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from policylearn.masking import IGNORED

Features = Callable[[Tensor, Tensor], Tensor]
"""(input_ids [B, T], real [B, T]) → features [B, d]: an `InnerModel`, or one with other parameters."""

Watch = Callable[[Tensor, Tensor], None]
"""Is shown what was masked and what the model took it for: token ids [M] both."""


@dataclass(frozen=True)
class Blend:
    """A way off the tokens that are seen: embedding = e(input_ids) + share · (e(to) - e(away)).

    With shares of zero everything is as without, to the bit; their derivatives are those of showing `to` for `away`.

    Attributes:
        share: [B, T].
        to, away: [B, T] token ids.
    """

    share: Tensor
    to: Tensor
    away: Tensor


_CLS_HEADS = ("bert", "deberta-v2", "deberta", "ernie")


class InnerModel(nn.Module):
    """`forward` dispatches, so that libraries which patch a module's forward see one entry point.

    - ``model(ids, real, labels=labels)``: cross-entropy of every masked token, [M] (M masked positions in row
      order). The vocabulary head runs on masked positions only: that is most of the cost of a small model.
      `watch` is shown the masked tokens and the model's guesses, token ids [M] both.
    - ``model(ids, real)``: features, the mean of the last hidden states over real tokens, [B, d].
    - `blend` shows other embeddings than those of `ids`.
    - `remark` is what a reader of results should know of the model: that its head is random, or nothing.

    Inputs may be on any device; what comes back is on that of the model, what `watch` is shown on the CPU.
    """

    def __init__(self, mlm: PreTrainedModel, bf16: bool = False, remark: str = "") -> None:
        super().__init__()
        self.mlm = mlm
        self.bf16 = bf16
        self.remark = remark

    def forward(
        self,
        input_ids: Tensor,
        real: Tensor,
        labels: Tensor | None = None,
        watch: Watch | None = None,
        blend: Blend | None = None,
    ) -> Tensor:
        weight = self.mlm.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        device = weight.device
        input_ids, real = input_ids.to(device), real.to(device)
        with self.precision(device):
            hidden = self.encode(input_ids, real, blend)
            if labels is None:
                return mean_pool(full(hidden), real)
            labels = labels.to(device)
            masked = labels != IGNORED
            logits = self.vocabulary_logits(self.states(hidden, input_ids, real, labels)[masked])
        if watch is not None:
            watch(labels[masked].cpu(), logits.detach().argmax(1).cpu())
        return cross_entropy(full(logits), labels[masked], reduction="none")

    def precision(self, device: torch.device) -> AbstractContextManager[Any]:
        """bf16 autocast, or nothing."""
        return torch.autocast(device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def encode(self, input_ids: Tensor, real: Tensor, blend: Blend | None = None) -> Tensor:
        """Last hidden states of the encoder, [B, T, d]."""
        seen = {"input_ids": input_ids} if blend is None else {"inputs_embeds": self._blended(input_ids, blend)}
        return self.encoder(**seen, attention_mask=real.long()).last_hidden_state

    @property
    def encoder(self) -> nn.Module:
        """What reads the text."""
        return self.mlm.base_model

    def states(self, hidden: Tensor, input_ids: Tensor, real: Tensor, labels: Tensor) -> Tensor:
        """[B, T, d] that masked tokens are predicted from; here the encoder's own."""
        return hidden

    def vocabulary_logits(self, hidden: Tensor) -> Tensor:
        """The model's own vocabulary head on hidden states [M, d]; [M, V]. ValueError: it is not known here."""
        return vocabulary_logits(self.mlm, hidden)

    def _blended(self, input_ids: Tensor, blend: Blend) -> Tensor:
        e = self.mlm.get_input_embeddings()
        return e(input_ids) + blend.share[:, :, None] * (e(blend.to.to(input_ids)) - e(blend.away.to(input_ids)))


@dataclass(frozen=True)
class Elsewhere:
    """A model at other parameters than its own: `Features`, differentiable in them."""

    model: nn.Module
    parameters: Mapping[str, Tensor]

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        return functional_call(self.model, dict(self.parameters), inputs, settings)


def full(x: Tensor) -> Tensor:
    """At least single precision: out of bf16, and double stays double."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def mean_pool(hidden: Tensor, real: Tensor) -> Tensor:
    """Mean of hidden states [B, T, d] over real tokens; [B, d]."""
    weights = real.to(hidden.dtype)[:, :, None]
    return (hidden * weights).sum(1) / weights.sum(1)


def vocabulary_logits(mlm: PreTrainedModel, hidden: Tensor) -> Tensor:
    """The model's own vocabulary head on hidden states [M, d]; [M, V].

    Raises:
        ValueError: the architecture's head is not known here.
    """
    kind = mlm.config.model_type
    head: Any = mlm
    if kind in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        return head.lm_head(hidden)
    if kind == "distilbert":
        return head.vocab_projector(head.vocab_layer_norm(head.activation(head.vocab_transform(hidden))))
    if kind == "modernbert":
        return head.decoder(head.head(hidden))
    if kind == "electra":
        return head.generator_lm_head(head.generator_predictions(hidden))
    if kind in _CLS_HEADS and hasattr(mlm, "cls"):
        return head.cls(hidden)
    raise ValueError(f"model type {kind!r} has a vocabulary head I do not know; add it to models/model.py")
