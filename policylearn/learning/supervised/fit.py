"""Stage "supervised": targets → loss → φ, pass by pass over the texts."""

from collections.abc import Iterator
from dataclasses import asdict
from time import monotonic
from typing import Any

import numpy as np
import torch

from policylearn.arms.policies import build_uniform
from policylearn.cluster.pool import Pool
from policylearn.config import Config
from policylearn.data.tokens import TokenRows
from policylearn.learning.learner import States
from policylearn.learning.steps import restore, snapshot
from policylearn.learning.supervised.answers import TARGET
from policylearn.learning.supervised.coverage import coverage
from policylearn.learning.supervised.losses import target_loss
from policylearn.learning.supervised.targets import batch_of, token_targets
from policylearn.messages.watch import UNSEEN, At, Watch
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Problem
from policylearn.runs.state import State

DRAWS = 4
"""Cuts and masks that the coverage of dev is the mean of."""


def supervised(problem: Problem, policy: MaskingPolicy, pool: Pool, state: State, config: Config) -> States:
    """Learn φ from token targets, in this process: the pool has nothing to do. Round n of the history is φ after n
    passes, round 0 what it starts from; dev is the share of the targets of dev that masks cover. See `Learner`.

    Raises:
        ValueError: the targets cannot be read, or there are none.
    """
    torch.set_num_threads(config.cluster.threads)  # sums over another number differ in the last bit
    targets, pad_id = token_targets(problem, ("train", "dev")), problem.tokenizer.pad_token_id
    for split, rows in targets.items():
        problem.tell(described(split, rows))
    optimizer = torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], config.supervised.learning_rate)
    total = passes(config)
    if state.tensors:
        restore(policy, optimizer, state.tensors)
    random = coverage(build_uniform(problem), targets["dev"], pad_id, watch=problem.watch).recall
    while state.round < total:
        started = monotonic()
        watch, rows = At(problem.watch, f"round {state.round + 1} of {total}"), targets["train"]
        losses = train_epoch(config, policy, optimizer, rows, pad_id, state, watch) if state.round else []
        found = asdict(coverage(policy, targets["dev"], pad_id, DRAWS, watch=watch))
        seconds = {"seconds": monotonic() - started}
        state.history.append(record(state.round, losses, found, random) | seconds)
        state.tried = policy.learned(), found["recall"]
        state.round += 1
        state.tensors = snapshot(policy, optimizer)
        yield state


def passes(config: Config) -> int:
    """Rounds there will be: every pass over the texts, and the look at dev before the first."""
    return config.supervised.epochs + 1


def described(split: str, rows: TokenRows) -> str:
    """How many targets there are, in words.

    >>> described("dev", TokenRows(np.arange(4), np.array([0, 4]), {TARGET: np.float32([0, 1, 0, 0])}))
    'targets of dev: 1 of 4 tokens (25.0 %) in 1 texts'
    """
    wanted, tokens = int((rows.columns[TARGET] > 0).sum()), len(rows.flat)
    return f"targets of {split}: {wanted:,} of {tokens:,} tokens ({100 * wanted / tokens:.1f} %) in {len(rows):,} texts"


def train_epoch(
    config: Config,
    policy: MaskingPolicy,
    optimizer: torch.optim.Optimizer,
    rows: TokenRows,
    pad_id: int,
    state: State,
    watch: Watch = UNSEEN,
) -> list[float]:
    """One pass over the texts, φ being moved in place; the losses of its steps."""
    losses = []
    batches = shuffled(len(rows), config.supervised.batch_size, config.learn.seed, state.round)
    for picked in watch("targets of train, texts", batches, len(rows), size=len):
        loss = target_loss(policy, *batch_of(policy, rows, picked, pad_id), state.round)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def shuffled(count: int, size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """The numbers 0 to count − 1 in batches, in an order that depends on seed and epoch alone.

    >>> sorted(int(i) for batch in shuffled(5, 2, seed=0, epoch=1) for i in batch)
    [0, 1, 2, 3, 4]
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return (order[start : start + size] for start in range(0, count, size))


def record(number: int, losses: list[float], found: dict[str, float], random: float) -> dict[str, Any]:
    """One line of metrics.jsonl: `dev` is the share of dev's targets that masks cover, `random` that of random ones,
    which is the rate or, in short texts, more: one token is always masked."""
    loss = {"outer_loss": float(np.mean(losses))} if losses else {}
    shares = {name: found[name] for name in ("whole", "precision", "rate")}
    dev = {"dev": found["recall"], "dev_scores": [found["recall"]], "baselines": {"random": random}}
    return {"round": number, **loss, **dev, **shares}
