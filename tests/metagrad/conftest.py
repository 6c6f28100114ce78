import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSeq2SeqLM
from transformers.models.t5.modeling_t5 import T5LayerNorm

from policylearn.adapt.finetune import FineTuning
from policylearn.adapt.joint import JointBatch, JointLoss
from policylearn.adapt.ridge import ridge_head
from policylearn.config import InnerConfig
from policylearn.data.questions import AnsweredBatch
from policylearn.inner.masked_diffusion import MaskedDiffusion
from policylearn.inner.masked_lm import MaskedLM
from policylearn.inner.steps import make_optimizer
from policylearn.inner.window import Window
from policylearn.masking import IGNORED, MaskedBatch
from policylearn.models.model import InnerModel
from policylearn.models.seq2seq import KINDS, Seq2SeqModel
from policylearn.tasks.classification import Classification
from policylearn.tasks.labelled import LabelledBatch, LabelWeights
from policylearn.tasks.questions import AnswerWeights

VOCABULARY, LENGTH, WIDTH = 23, 7, 8  # ids 0 and 1 are padding and [MASK]
# An eps this large keeps the first steps of a fresh AdamW smooth: with a small one they are the gradient's sign.
SETTINGS = InnerConfig(eps=1e-3, weight_decay=0.1, betas=(0.9, 0.98))
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": LENGTH,
    "initializer_range": 0.3,
    "hidden_dropout_prob": 0.5,
    "attention_probs_dropout_prob": 0.5,
    "pad_token_id": 0,
}
DISTILBERT = {"dim": WIDTH, "n_layers": 2, "n_heads": 2, "hidden_dim": 16, "dropout": 0.5, "attention_dropout": 0.5}
SPECIALS = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
BOTH = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
HALVES = {
    f"{half}_{name}": value
    for half in ("encoder", "decoder")
    for name, value in {"layers": 1, "attention_heads": 2, "ffn_dim": 16}.items()
}
T5 = {"d_model": WIDTH, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "feed_forward_proj": "gated-gelu"}
ARCHITECTURES = {
    "bert": COMMON,
    "roberta": COMMON | {"max_position_embeddings": LENGTH + 1},
    "distilbert": {k: v for k, v in COMMON.items() if k in ("vocab_size", "initializer_range")} | DISTILBERT,
    "modernbert": COMMON | SPECIALS | {"initializer_cutoff_factor": 1.0},
    "electra": COMMON | {"embedding_size": WIDTH},
    "deberta-v2": COMMON | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "bart": BOTH | HALVES | {"d_model": WIDTH, "max_position_embeddings": LENGTH, "init_std": 0.3, "dropout": 0.5},
    "t5": BOTH
    | {"d_model": WIDTH, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "feed_forward_proj": "gated-gelu"},
}


class Inner:
    """A tiny model in double precision, with everything an engine is given."""

    def __init__(
        self,
        tied: bool = True,
        warm: int = 0,
        settings: InnerConfig = SETTINGS,
        dtype=torch.float64,
        kind: str = "bert",
        seeds: list[int] | None = None,
        objective=None,
    ) -> None:
        self.generator = torch.Generator().manual_seed(3)
        self.dtype, self.clip, self.seeds, self.objective = dtype, settings.clip, None, objective or MaskedLM()
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **ARCHITECTURES[kind], tie_word_embeddings=tied)
        auto, wrapped = (AutoModelForSeq2SeqLM, Seq2SeqModel) if kind in KINDS else (AutoModelForMaskedLM, InnerModel)
        mlm = auto.from_config(config, attn_implementation="eager").to(dtype).eval()
        self.model = wrapped(mlm)
        if not tied:
            head = mlm.get_output_embeddings()
            head.weight.data.copy_(mlm.get_input_embeddings().weight.data)
        self.optimizer = make_optimizer(self.model, settings)
        for batch in self.batches(warm):
            self.step(self.model, self.optimizer, batch, 0.02)
        if seeds is not None:
            self.seeds = seeds
            self.model.train()
        self.ids = torch.randint(2, VOCABULARY, (9, LENGTH), generator=self.generator)
        self.real = torch.arange(LENGTH) < torch.randint(3, LENGTH + 1, (9, 1), generator=self.generator)
        self.y = torch.arange(9) % 3
        self.head = torch.randn(WIDTH, 3, dtype=torch.float64, generator=self.generator).to(dtype)

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
        batch = MaskedBatch(ids, corrupted, real, torch.where(mask, ids, IGNORED))
        if isinstance(self.objective, MaskedDiffusion):
            batch = replace(batch, rate=0.1 + 0.9 * torch.rand(size, 1, generator=self.generator))
        return batch

    def window(self, batches, rates) -> Window:
        """Steps on these batches, with the clipping and the seeds of this problem."""
        return Window(batches, rates[: len(batches)], self.objective, self.clip, self.seeds)

    def outer(self, features) -> torch.Tensor:
        """A smooth outer loss; dropout, where there is any, is the same every time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return cross_entropy(features(self.ids, self.real) @ self.head, self.y)

    def tuning(self, settings: InnerConfig, rates: list[float]) -> FineTuning:
        """The loss of three texts after fine-tuning on two batches of three, in turn."""
        batches = [LabelledBatch(x[:3], r[:3], self.y[:3]) for x, r in self._thirds()]
        steps = Window(
            [batches[k % 2] for k in range(len(rates))], rates, LabelWeights(Classification(3).losses), clip=1.0
        )

        def head(features):
            return ridge_head(features(self.ids[:6], self.real[:6]), self.y[:6], Classification(3))

        def query(features):
            return cross_entropy(features(self.ids[6:], self.real[6:]), self.y[6:])

        return FineTuning(steps, head, partial(make_optimizer, config=settings), query)

    def joint(self, settings: InnerConfig, rates: list[float]) -> FineTuning:
        """The same on both losses, of labels and of masked tokens."""
        alone = self.tuning(settings, rates)
        masked = self.batches(len(rates), size=2)
        batches = [JointBatch(*pair) for pair in zip(alone.window.batches, masked, strict=True)]
        return replace(
            alone, window=replace(alone.window, batches=batches, loss=JointLoss(alone.window.loss, MaskedLM(), 0.5))
        )

    def answering(self, settings: InnerConfig, rates: list[float]) -> FineTuning:
        """The loss of three answers after fine-tuning on two batches of three questions, in turn."""
        asked = [(x, r, self.answers(3)) for x, r in [*self._thirds(), (self.ids[6:], self.real[6:])]]
        steps = Window([AnsweredBatch(*asked[k % 2]) for k in range(len(rates))], rates, AnswerWeights(), clip=1.0)

        def query(model):
            ids, real, answers = asked[2]
            return model(ids, real, answers=answers).mean()

        return FineTuning(steps, None, partial(make_optimizer, config=settings), query)

    def answers(self, n: int) -> torch.Tensor:
        """Of one to three tokens and an end, [n, 4]."""
        tokens = torch.randint(4, VOCABULARY, (n, 4), generator=self.generator)
        last = torch.randint(1, 4, (n, 1), generator=self.generator)
        at = torch.arange(4)
        return torch.where(at < last, tokens, torch.where(at == last, 3, IGNORED))

    def _thirds(self):
        return [(self.ids[i : i + 3], self.real[i : i + 3]) for i in (0, 3)]

    def step(self, model, optimizer, batch: MaskedBatch, rate: float, weights=None, seed: int | None = None) -> None:
        """One step of torch's own optimiser, in place."""
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                torch.manual_seed(seed)
            x = self.objective.inputs(batch, next(model.parameters())) if weights is None else weights
            self.objective(model, batch, x).backward()
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), self.clip)
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
        seeds = self.seeds or [None] * len(batches)
        for batch, rate, w, seed in zip(batches, rates, weights, seeds, strict=True):
            self.step(model, optimizer, batch, rate, w, seed)
        return model, optimizer

    def numeric(
        self, batches, rates, frozen_vectors: bool = False, eps: float = 1e-5, outer=None, directions=None
    ) -> torch.Tensor:
        """∂(outer loss)/∂w along `directions` [n, M_1 + … + M_K], by central differences of fourth order, [n]; without,
        along every axis.

        `frozen_vectors`: norms and biases of the last step stand where w = 1 took them.
        """
        outer = outer or self.outer
        sizes = [int(batch.mask.sum()) for batch in batches]
        model, _ = self.after(batches, rates, [torch.ones(n, dtype=self.dtype) for n in sizes])
        vectors = {name: p.detach() for name, p in model.named_parameters() if p.ndim == 1}

        def loss(flat: torch.Tensor) -> torch.Tensor:
            moved, _ = self.after(batches, rates, flat.split(sizes))
            with torch.set_grad_enabled(isinstance(outer, FineTuning)):
                return outer((lambda *x: functional_call(moved, vectors, x)) if frozen_vectors else moved)

        slopes = []
        for direction in torch.eye(sum(sizes), dtype=self.dtype) if directions is None else directions:
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


@pytest.fixture
def all_double(monkeypatch):
    """ModernBERT and T5 compute attention, positions and norms in single precision whatever their weights: here they do
    not."""
    softmax = torch.nn.functional.softmax
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(torch.nn.functional, "softmax", lambda x, dim=None, dtype=None: softmax(x, dim=dim))
    rms_norm = torch.nn.functional.rms_norm
    monkeypatch.setattr(T5LayerNorm, "forward", lambda self, x: rms_norm(x, x.shape[-1:], self.weight, 1e-6))
