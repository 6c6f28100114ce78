"""An encoder–decoder as the inner model: it restores masked text (denoising, as BART does), and answers questions."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from policylearn.masking import IGNORED
from policylearn.models.model import Blend, InnerModel, Observe, full

KINDS = ("bart", "t5")
"""Model types whose vocabulary head and first decoder token are known here; of others, see `models/whole.py`."""


class Seq2SeqModel(InnerModel):
    """An `InnerModel` of two halves, called in the same ways and in one more.

    - ``model(ids, real, labels=labels)``: the encoder sees the corrupted text, the decoder is given the original up to
      each token and predicts it; cross-entropy of every masked token, [M] in row order. What is not masked would be
      copied: its loss, which an ordinary denoising step adds, says nothing of a mask and is left out.
    - ``model(ids, real)``: features, the mean of the encoder's states.
    - ``model(ids, real, answers=answers)``: -log p(answer | text) of every row, [B]; answers [B, A] are token ids, -100
      in padding.

    >>> from transformers import BartConfig, BartForConditionalGeneration
    >>> tiny = BartConfig(vocab_size=30, d_model=16, encoder_layers=1, decoder_layers=1, pad_token_id=0)
    >>> model = Seq2SeqModel(BartForConditionalGeneration(tiny).eval())
    >>> ids, labels = torch.tensor([[2, 7, 1, 1, 3]]), torch.tensor([[-100, -100, 8, 9, -100]])
    >>> model(ids, ids > 0, labels=labels).shape, model(ids, ids > 0, answers=torch.tensor([[5, 3, -100]])).shape
    (torch.Size([2]), torch.Size([1]))
    """

    def __init__(self, mlm: PreTrainedModel, bf16: bool = False, remark: str = "") -> None:
        if mlm.config.model_type in KINDS and getattr(mlm.config, "decoder_start_token_id", None) is None:
            raise ValueError(
                f"model type {mlm.config.model_type!r}: its config.json has no decoder_start_token_id, with which its "
                "decoder begins: set it there, of T5 to pad_token_id"
            )
        super().__init__(mlm, bf16, remark)

    def forward(
        self,
        input_ids: Tensor,
        real: Tensor,
        labels: Tensor | None = None,
        observe: Observe | None = None,
        blend: Blend | None = None,
        at: Tensor | None = None,
        answers: Tensor | None = None,
    ) -> Tensor:
        if answers is None:
            return super().forward(input_ids, real, labels, observe, blend, at)
        device = next(self.parameters()).device
        input_ids, real, answers = input_ids.to(device), real.to(device), answers.to(device)
        with self.precision(device):
            told = answers != IGNORED
            logits = self.token_logits(answers, told, input_ids, real)
        losses = cross_entropy(full(logits), answers[told], reduction="none")
        return losses.new_zeros(len(answers)).index_add(0, told.nonzero()[:, 0], losses)

    @property
    def encoder(self) -> nn.Module:
        """What reads the text."""
        return self.mlm.get_encoder()

    def masked_logits(self, input_ids: Tensor, real: Tensor, labels: Tensor, blend: Blend | None = None) -> Tensor:
        """Logits of the masked tokens, [M, V]; the decoder is given the original text before each of them."""
        masked = labels != IGNORED
        return self.token_logits(torch.where(masked, labels, input_ids), masked, input_ids, real, blend)

    def token_logits(
        self, tokens: Tensor, at: Tensor, input_ids: Tensor, real: Tensor, blend: Blend | None = None
    ) -> Tensor:
        """Logits of tokens [B, A], -100 in padding, where `at` [B, A] holds, [M, V]."""
        return decoder_logits(self.mlm, self.decode(tokens, self.encode(input_ids, real, blend), real)[at])

    def decode(self, tokens: Tensor, hidden: Tensor, real: Tensor) -> Tensor:
        """The decoder's states [B, A, d] before each of the tokens [B, A], -100 in padding, that it is given.

        Args:
            tokens: to be predicted.
            hidden: [B, T, d], the encoder's states.
            real: [B, T] boolean, which of them stand for tokens.
        """
        decoder: Any = self.mlm.get_decoder()
        read = {"encoder_hidden_states": hidden, "encoder_attention_mask": real.long()}
        return decoder(input_ids=shifted(tokens, self.mlm.config), use_cache=False, **read).last_hidden_state


def shifted(tokens: Tensor, config: Any) -> Tensor:
    """What a decoder is given to predict tokens [B, A]: the same, one place to the right, after its first token.

    >>> from transformers import T5Config
    >>> shifted(torch.tensor([[7, 8, -100]]), T5Config(pad_token_id=0, decoder_start_token_id=0))
    tensor([[0, 7, 8]])
    """
    first = tokens.new_full((len(tokens), 1), config.decoder_start_token_id)
    given = torch.cat([first, tokens[:, :-1]], 1)
    return given.masked_fill(given == IGNORED, config.pad_token_id)


def decoder_logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """The vocabulary head of an encoder–decoder, which is one of `KINDS`, on its decoder's states [M, d]; [M, V]."""
    head: Any = model
    if model.config.model_type == "bart":
        return head.lm_head(hidden) + head.final_logits_bias
    return head.lm_head(hidden * head.model_dim**-0.5 if model.config.scale_decoder_outputs else hidden)
