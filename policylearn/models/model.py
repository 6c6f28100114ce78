"""A transformers masked language model, called in the two ways the inner problem needs."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from policylearn.data.pairs import second_text
from policylearn.masking import IGNORED
from policylearn.models.heads import vocabulary_logits

Features = Callable[[Tensor, Tensor], Tensor]
"""(input_ids [B, T], real [B, T]) → features [B, d]: an `InnerModel`, or one with other parameters."""

Observe = Callable[[Tensor, Tensor], None]
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


class InnerModel(nn.Module):
    """`forward` dispatches, so that libraries which patch a module's forward see one entry point.

    - ``model(ids, real, labels=labels)``: cross-entropy of every masked token, [M] (M masked positions in row
      order). The vocabulary head runs on masked positions only: that is most of the cost of a small model.
      `observe` is shown the masked tokens and the model's guesses, token ids [M] both.
    - ``model(ids, real)``: features, the mean of the last hidden states over real tokens, [B, d].
    - ``model(ids, real, at=at)``: features of the W tokens where `at` [B, T] holds, their hidden states, [W, d].
    - `blend` shows other embeddings than those of `ids`.
    - `real` is [B, T], not padding; with labels it may be [B, T, T], which tokens each may look at.
    - `remark` is what a reader of results should know of the model: that its head is random, or nothing.
    - `separator` stands between the texts of pairs, where the model is told which text a token is of, see `read_pairs`.

    Inputs may be on any device; what comes back is on that of the model, what `observe` is shown on the CPU.
    """

    def __init__(self, mlm: PreTrainedModel, bf16: bool = False, remark: str = "") -> None:
        super().__init__()
        self.mlm = mlm
        self.bf16 = bf16
        self.remark = remark
        self.separator: int | None = None

    def read_pairs(self, separator: int | None) -> None:
        """From now on tokens behind a separator are of the second type, if the model knows types."""
        typed = "token_type_ids" in signature(self.mlm.forward).parameters
        self.separator = separator if typed and getattr(self.mlm.config, "type_vocab_size", 2) != 1 else None

    def forward(
        self,
        input_ids: Tensor,
        real: Tensor,
        labels: Tensor | None = None,
        observe: Observe | None = None,
        blend: Blend | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        weight = self.mlm.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        device = weight.device
        input_ids, real = input_ids.to(device), real.to(device)
        with self.precision(device):
            if labels is None:
                hidden = full(self.encode(input_ids, real, blend))
                return mean_pool(hidden, real) if at is None else hidden[at.to(device)]
            labels = labels.to(device)
            logits = self.masked_logits(input_ids, real, labels, blend)
        masked = labels != IGNORED
        if observe is not None:
            observe(labels[masked].cpu(), logits.detach().argmax(1).cpu())
        return cross_entropy(full(logits), labels[masked], reduction="none")

    def precision(self, device: torch.device) -> AbstractContextManager[Any]:
        """bf16 autocast, or nothing."""
        return torch.autocast(device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def encode(self, input_ids: Tensor, real: Tensor, blend: Blend | None = None) -> Tensor:
        """Last hidden states of the encoder, [B, T, d]."""
        return self.encoder(**self.seen(input_ids, real, blend)).last_hidden_state

    def seen(self, input_ids: Tensor, real: Tensor, blend: Blend | None) -> dict[str, Tensor]:
        """What the model is called with."""
        text = {"input_ids": input_ids} if blend is None else {"inputs_embeds": self._blended(input_ids, blend)}
        if self.separator is not None:
            text["token_type_ids"] = second_text(input_ids, real, self.separator)
        return {**text, "attention_mask": attention_mask(real, self.mlm.dtype)}

    @property
    def encoder(self) -> nn.Module:
        """What reads the text."""
        return self.mlm.base_model

    def masked_logits(self, input_ids: Tensor, real: Tensor, labels: Tensor, blend: Blend | None = None) -> Tensor:
        """Logits of the masked tokens, [M, V]."""
        return vocabulary_logits(self.mlm, self.encode(input_ids, real, blend)[labels != IGNORED])

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


def attention_mask(real: Tensor, dtype: torch.dtype) -> Tensor:
    """What a model of transformers takes: [B, T], 1 for tokens; or, where every token of [B, T, T] has its own, what is
    added to the scores of attention, [B, 1, T, T]."""
    if real.ndim == 2:
        return real.long()
    hidden = torch.finfo(torch.bfloat16).min  # which is a number in wider types as well
    return torch.zeros(real.shape, dtype=dtype, device=real.device).masked_fill(~real, hidden)[:, None]


def full(x: Tensor) -> Tensor:
    """At least single precision: out of bf16, and double stays double."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def mean_pool(hidden: Tensor, real: Tensor) -> Tensor:
    """Mean of hidden states [B, T, d] over real tokens; [B, d], of a text that has none 0."""
    weights = real.to(hidden.dtype)[:, :, None]
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
