import copy

import pytest
import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForMaskedLM

from policylearn.config import InnerConfig
from policylearn.inner.mlm import make_optimizer, mlm_loss
from policylearn.inner.model import InnerModel
from policylearn.masking import IGNORED, MaskedBatch

VOCABULARY, LENGTH = 23, 7  # ids 0 and 1 are padding and [MASK]
# An eps this large keeps the first steps of a fresh AdamW smooth: with a small one they are the gradient's sign.
SETTINGS = InnerConfig(eps=1e-3, weight_decay=0.1, betas=(0.9, 0.98))


class Inner:
    """A tiny BERT in double precision, with everything an engine is given."""

    def __init__(self, tied: bool = True, warm: int = 0, settings: InnerConfig = SETTINGS, dtype=torch.float64) -> None:
        self.generator = torch.Generator().manual_seed(3)
        self.dtype = dtype
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=LENGTH,
            initializer_range=0.3,
            hidden_dropout_prob=0.5,
            attention_probs_dropout_prob=0.5,
            tie_word_embeddings=tied,
        )
        self.model = InnerModel(BertForMaskedLM._from_config(config, attn_implementation="eager").to(dtype).eval())
        if not tied:
            head = self.model.mlm.cls.predictions.decoder
            head.weight.data.copy_(self.model.mlm.get_input_embeddings().weight.data)
        self.optimizer = make_optimizer(self.model, settings)
        for batch in self.batches(warm):
            self.step(self.model, self.optimizer, batch, 0.02)
        self.ids = torch.randint(2, VOCABULARY, (9, LENGTH), generator=self.generator)
        self.real = torch.arange(LENGTH) < torch.randint(3, LENGTH + 1, (9, 1), generator=self.generator)
        self.y = torch.arange(9) % 3
        self.head = torch.randn(8, 3, dtype=dtype, generator=self.generator)

    def batches(self, n: int, size: int = 3) -> list[MaskedBatch]:
        """Batches of different masks and numbers of masked tokens."""
        return [self._batch(size) for _ in range(n)]

    def _batch(self, size: int) -> MaskedBatch:
        ids = torch.randint(2, VOCABULARY, (size, LENGTH), generator=self.generator)
        real = torch.ones_like(ids, dtype=torch.bool)
        real[0, -2:] = False
        mask = real & (torch.rand(size, LENGTH, generator=self.generator) < 0.3)
        mask[0, 0] = True
        corrupted = torch.where(mask, 1, ids)
        return MaskedBatch(ids, corrupted, real, torch.where(mask, ids, IGNORED))

    def outer(self, features) -> torch.Tensor:
        """A smooth outer loss."""
        return cross_entropy(features(self.ids, self.real) @ self.head, self.y)

    @staticmethod
    def step(model, optimizer, batch: MaskedBatch, rate: float, weights=None) -> None:
        """One step of torch's own AdamW, in place."""
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        mlm_loss(model, batch, weights).backward()
        optimizer.step()

    def copies(self):
        """A model and optimiser that may be moved."""
        model = copy.deepcopy(self.model)
        twin = copy.deepcopy(self.optimizer)
        pairs = dict(zip(self.model.parameters(), model.parameters(), strict=True))
        for ours, theirs in zip(twin.param_groups, self.optimizer.param_groups, strict=True):
            ours["params"] = [pairs[p] for p in theirs["params"]]
        twin.state.clear()
        for p, state in self.optimizer.state.items():
            twin.state[pairs[p]] = {name: value.clone() for name, value in state.items()}
        return model, twin

    def after(self, batches, rates, weights):
        """The model after ordinary steps on the weighted losses."""
        model, optimizer = self.copies()
        for batch, rate, w in zip(batches, rates, weights, strict=True):
            self.step(model, optimizer, batch, rate, w)
        return model, optimizer

    def numeric(self, batches, rates, frozen_vectors: bool = False, eps: float = 1e-5) -> torch.Tensor:
        """∂(outer loss)/∂w by central differences of fourth order, [M_1 + … + M_K].

        `frozen_vectors`: norms and biases of the last step stand where w = 1 took them.
        """
        sizes = [int(batch.mask.sum()) for batch in batches]
        model, _ = self.after(batches, rates, [torch.ones(n, dtype=self.dtype) for n in sizes])
        vectors = {name: p.detach() for name, p in model.named_parameters() if p.ndim == 1}

        def loss(flat: torch.Tensor) -> torch.Tensor:
            moved, _ = self.after(batches, rates, flat.split(sizes))
            with torch.no_grad():
                if frozen_vectors:
                    return self.outer(lambda *x: functional_call(moved, vectors, x))
                return self.outer(moved)

        slopes = []
        for direction in torch.eye(sum(sizes), dtype=self.dtype):
            f = [loss(1 + by * eps * direction) for by in (-2, -1, 1, 2)]
            slopes.append((f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * eps))
        return torch.stack(slopes)


@pytest.fixture(scope="session")
def inner():
    """The class of tiny inner problems."""
    return Inner


@pytest.fixture(scope="session")
def relative_error():
    """|a - b| / |b| of whole vectors."""
    return lambda a, b: ((a - b).norm() / b.norm()).item()
