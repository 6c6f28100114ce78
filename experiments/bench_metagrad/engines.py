"""One measurement of one engine in a process of its own: python engines.py ENGINE STEPS CREDITS_FILE

Prints one JSON object: CPU seconds of the window, and its peak memory in MiB above what model, moments and libraries
took before it. That is `ru_maxrss`, the highest resident size of the process, less the resident size at the start.
"""

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForMaskedLM

from policylearn.config import InnerConfig
from policylearn.inner.mlm import make_optimizer
from policylearn.inner.model import InnerModel
from policylearn.masking import IGNORED, MaskedBatch
from policylearn.metagrad.replay import replay
from policylearn.metagrad.unroll import unroll

ROWS, WIDTH, VOCABULARY, MASK, RATE = 8, 128, 30522, 103, 1e-4


class TransformersLoss(InnerModel):
    """The MLM loss as transformers has it: logits of all positions, those that are not masked ignored."""

    def forward(self, input_ids, real, labels=None, watch=None) -> Tensor:
        if labels is None:
            return super().forward(input_ids, real)
        logits = self.mlm(input_ids=input_ids, attention_mask=real.long()).logits
        losses = cross_entropy(logits.view(-1, VOCABULARY), labels.view(-1), ignore_index=IGNORED, reduction="none")
        return losses[labels.view(-1) != IGNORED]


def plain(model, optimizer, batches, rates, outer) -> list[Tensor]:
    """No meta-gradient: transformers' own training step."""
    for batch in batches:
        model.mlm(input_ids=batch.input_ids, attention_mask=batch.real.long(), labels=batch.labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return []


ENGINES: dict[str, tuple[type[InnerModel], Callable[..., list[Tensor]]]] = {
    "plain": (InnerModel, plain),
    "replay": (InnerModel, replay),
    "unroll": (InnerModel, unroll),
    "higher": (TransformersLoss, unroll),
}
"""A model and what is done with it. "unroll" keeps the graph of the loss of masked positions, "higher" that of the loss
as transformers has it; both by the library `higher`, with the AdamW of `metagrad.unroll`, for it has none."""


def problem(kind: type[InnerModel], steps: int):
    """4 layers of width 256, random weights, warm moments, and K batches of 8 × 128 tokens, 15 % of them masked."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = kind(BertForMaskedLM._from_config(config, attn_implementation="eager").eval())
    optimizer = make_optimizer(model, InnerConfig(learning_rate=RATE))
    for p in model.parameters():
        g = 1e-3 * torch.randn_like(p)
        optimizer.state[p] = {"step": torch.tensor(100.0), "exp_avg": 0.1 * g.detach(), "exp_avg_sq": g.detach() ** 2}
    batches = [batch_of(torch.Generator().manual_seed(k), ROWS, WIDTH) for k in range(steps)]
    return model, optimizer, batches


def batch_of(generator: torch.Generator, rows: int, width: int) -> MaskedBatch:
    ids = torch.randint(1000, VOCABULARY, (rows, width), generator=generator)
    mask = torch.rand(rows, width, generator=generator) < 0.15
    real = torch.ones_like(mask)
    return MaskedBatch(ids, torch.where(mask, MASK, ids), real, torch.where(mask, ids, IGNORED))


def outer_loss() -> Callable[..., Tensor]:
    """Cross-entropy of a fixed linear head on the features of 8 texts."""
    generator = torch.Generator().manual_seed(99)
    texts, head = batch_of(generator, ROWS, WIDTH), torch.randn(256, 4, generator=generator)
    return lambda features: cross_entropy(features(texts.original, texts.real) @ head, torch.arange(ROWS) % 4)


def measure(engine: str, steps: int) -> tuple[dict[str, float], list[Tensor]]:
    kind, run = ENGINES[engine]
    model, optimizer, batches = problem(kind, steps)
    outer = outer_loss()
    gc.collect()
    before = resident()
    start = time.process_time()
    credits = run(model, optimizer, batches, [RATE] * steps, outer)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "mib": peak - before, "before_mib": before}, credits


def resident() -> float:
    """Resident size of this process now, MiB."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    torch.set_num_threads(1)
    found, credits = measure(sys.argv[1], int(sys.argv[2]))
    torch.save(credits, sys.argv[3])
    print(json.dumps(found))
