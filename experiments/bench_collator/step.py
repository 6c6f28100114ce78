"""What share of a training step of BERT-base its batch takes: made in the main process, or in a worker of a loader."""

import statistics
import time

import torch
from texts import Example
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForMaskedLM

from policylearn import PolicyCollator


def shares_of_a_step(
    collate: PolicyCollator, texts: list[Example], vocab_size: int, rows: int, steps: int
) -> dict[str, object]:
    """Seconds the loop waits for a batch over seconds of the step that follows, medians by the clock.

    Args:
        collate: makes batches of all the texts.
        texts: one batch.
        vocab_size: of the model.
        rows: the model trains on so many rows of each batch; fewer than there are make the step shorter, not the batch.
        steps: so many are timed.
    """
    model = BertForMaskedLM(BertConfig(vocab_size=vocab_size))
    optimizer = torch.optim.AdamW(model.parameters())
    seconds: list[float] = []
    shares = {}
    for place, workers in (("in the main process", 0), ("in a worker", 1)):
        loader = DataLoader(texts * (steps + 1), batch_size=len(texts), collate_fn=collate, num_workers=workers)
        waits, batches = [], iter(loader)
        for _ in range(steps + 1):
            start = time.perf_counter()
            batch = next(batches)
            waits.append(time.perf_counter() - start)
            seconds.append(timed_step(model, optimizer, {name: column[:rows] for name, column in batch.items()}))
        shares[place] = statistics.median(waits[1:])  # the first starts the workers
    step = statistics.median(seconds)
    return {"rows": rows, "seconds": step, "shares": {place: wait / step for place, wait in shares.items()}}


def timed_step(model: BertForMaskedLM, optimizer: torch.optim.Optimizer, batch: dict[str, torch.Tensor]) -> float:
    batch = {name: column for name, column in batch.items() if name != "special_tokens_mask"}
    start = time.perf_counter()
    optimizer.zero_grad()
    model(**batch).loss.backward()
    optimizer.step()
    return time.perf_counter() - start
