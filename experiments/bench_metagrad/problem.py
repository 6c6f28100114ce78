"""The inner problem that all engines are measured on: a BERT with random weights, warm AdamW, K masked batches."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForMaskedLM

from policylearn.config import InnerConfig
from policylearn.inner.masked_lm import MaskedLM, mlm_loss
from policylearn.inner.steps import make_optimizer
from policylearn.inner.window import Window
from policylearn.masking import IGNORED, MaskedBatch
from policylearn.models.model import Features, InnerModel

ROWS, WIDTH, VOCABULARY, MASK, RATE = 8, 128, 30522, 103, 1e-4

SIZES = {"small": (4, 256), "base": (12, 768)}
"""Layers and width; heads are 64 wide, the feed-forward part four times as wide."""


@dataclass
class Problem:
    """K inner steps and an outer loss; engines advance model and optimiser."""

    model: InnerModel
    optimizer: torch.optim.AdamW
    batches: list[MaskedBatch]
    outer: Callable[[Features], Tensor]

    @property
    def window(self) -> Window:
        return Window(self.batches, [RATE] * len(self.batches), MaskedLM())


def problem(size: str, steps: int, kind: type[InnerModel], attention: str, bf16: bool, device: str = "cpu") -> Problem:
    """The same weights, moments, batches and outer loss for every engine.

    Args:
        size: of `SIZES`.
        steps: K.
        kind: class of the inner model.
        attention: transformers' attn_implementation.
        bf16: autocast.
        device: of model and moments.
    """
    torch.manual_seed(0)
    with torch.device(device):
        mlm = BertForMaskedLM._from_config(config(size), attn_implementation=attention)
    model = kind(mlm.eval(), bf16)
    optimizer = make_optimizer(model, InnerConfig(learning_rate=RATE))
    batches = [batch_of(torch.Generator().manual_seed(k)) for k in range(steps)]
    warm_up(model, optimizer)
    return Problem(model, optimizer, batches, outer_loss(SIZES[size][1], device))


def config(size: str) -> BertConfig:
    layers, width = SIZES[size]
    return BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def batch_of(generator: torch.Generator) -> MaskedBatch:
    """8 rows of 128 random tokens, 15 % of them masked."""
    ids = torch.randint(1000, VOCABULARY, (ROWS, WIDTH), generator=generator)
    mask = torch.rand(ROWS, WIDTH, generator=generator) < 0.15
    return MaskedBatch(ids, torch.where(mask, MASK, ids), torch.ones_like(mask), torch.where(mask, ids, IGNORED))


def warm_up(model: InnerModel, optimizer: torch.optim.AdamW) -> None:
    """Moments as after a hundred steps: noise, per tensor of the size that its gradient has."""
    loss = mlm_loss(InnerModel(model.mlm), batch_of(torch.Generator().manual_seed(99)))
    for p, g in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
        size = g.square().mean()
        optimizer.state[p] = {
            "step": torch.tensor(100.0),
            "exp_avg": 0.3 * size.sqrt() * torch.randn_like(p.detach()),
            "exp_avg_sq": size * (0.5 + torch.rand_like(p.detach())),
        }


def outer_loss(width: int, device: str) -> Callable[[Features], Tensor]:
    """Cross-entropy of a fixed linear head on the features of 8 texts."""
    generator = torch.Generator().manual_seed(100)
    texts, head = batch_of(generator), torch.randn(width, 4, generator=generator).to(device)
    y = torch.arange(ROWS, device=device) % 4
    return lambda features: cross_entropy(features(texts.original, texts.real) @ head, y)
