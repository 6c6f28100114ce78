"""Counting a corpus on a Ray cluster: the same integers as in one process.

Shards are read, and their chunks counted, by tasks and actors of Ray Data, which stream through the cluster: neither
a shard nor the corpus is held anywhere as a whole. The counts of chunks come back in the order of the corpus and are
added up here.
"""

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from transformers import PreTrainedTokenizerBase

from policylearn.cluster.connection import check_joined, connect
from policylearn.config import Config
from policylearn.masking.vocabulary import Vocabulary
from policylearn.scores.counting import LIMIT, CorpusCounts, Tally, count_chunk
from policylearn.scores.reading import text_chunks

Shard = Callable[[], Iterable[str]]
"""Opens a stream of texts, wherever it is called: a function of a path or of a config, not of this process."""


def count_corpus_on_ray(
    config: Config,
    shards: Sequence[Shard],
    tokenizer: PreTrainedTokenizerBase,
    vocabulary: Vocabulary,
    only: np.ndarray | None = None,
    limit: int = LIMIT,
    watch: Callable[[Iterable[CorpusCounts]], Iterable[CorpusCounts]] = lambda parts: parts,
) -> CorpusCounts:
    """`scores.counting.count_corpus` of the texts of all shards, one shard after the other.

    The counts are the same for any number of workers; and the same as in one process: always for one shard, and for
    several unless the corpus has more than `limit` words (a chunk never holds texts of two shards).

    Args:
        config: `config.cluster` says which cluster, and how many workers count. Unless a cluster has been joined, one
            is joined or started for the time of the count.
        shards: each is read by one task, so several files are read at the same time.
        tokenizer, vocabulary, only, limit: as in `count_corpus`.
        watch: shows progress on the counts of chunks.

    Raises:
        ValueError: the cluster cannot be reached, or another one has been joined; or whatever a shard raises on being
            read.
    """
    started_here = not ray.is_initialized()
    if started_here:
        connect(config)
    else:
        check_joined(config.cluster)
    try:
        tally = Tally(len(vocabulary.special), limit)
        with _ray_data_configured():
            settings = (tokenizer, vocabulary, only)
            for part in watch(_counted_chunks(shards, settings, config.cluster.workers) if shards else ()):
                tally.add(part)
        return tally.total()
    finally:
        if started_here:
            ray.shutdown()


def _counted_chunks(shards: Sequence[Shard], settings: tuple, workers: int) -> Iterator[CorpusCounts]:
    """The counts of all chunks, in the order of the corpus."""
    items = [{"shard": ray.cloudpickle.dumps(shard)} for shard in shards]
    sources = ray.data.from_items(items, override_num_blocks=len(items))
    # Readers are actors too, for Ray Data joins tasks to the actors behind them, and one file would have one counter.
    # Nothing asks for CPUs: the pool of rollouts may hold them all, and has nothing to do while its caller counts.
    readers = ActorPoolStrategy(size=min(workers, len(shards)))
    chunks = sources.map_batches(_Reader, batch_size=1, compute=readers, num_cpus=0)
    counters = ActorPoolStrategy(size=workers)
    counted = chunks.map_batches(_Counter, fn_constructor_args=settings, batch_size=1, compute=counters, num_cpus=0)
    for row in counted.iter_rows():
        part = pickle.loads(row["counts"])
        if isinstance(part, ValueError):
            raise part
        yield part


class _Reader:
    """Reads shards, a chunk at a time."""

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, list[bytes]]]:
        for shard in batch["shard"]:
            try:
                for chunk in text_chunks(pickle.loads(shard)()):
                    yield {"texts": [pickle.dumps(chunk)]}
            except ValueError as error:  # storage boundary: it goes where the counts go, else Ray adds its own advice
                yield {"texts": [pickle.dumps(error)]}


class _Counter:
    """Counts chunks; the tokenizer travels once to each."""

    def __init__(self, *settings: Any) -> None:
        self.settings = settings

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[bytes]]:
        chunks = [pickle.loads(texts) for texts in batch["texts"]]
        counts = [chunk if isinstance(chunk, ValueError) else count_chunk(chunk, *self.settings) for chunk in chunks]
        return {"counts": [pickle.dumps(part) for part in counts]}


@contextmanager
def _ray_data_configured() -> Iterator[None]:
    """Within, Ray Data keeps the order, has one chunk per block, for a block goes to one worker, and says little; after
    that, all is as whoever joined the cluster has it."""
    context, log = DataContext.get_current(), logging.getLogger("ray.data")
    options = context.execution_options
    before = options.preserve_order, context.target_max_block_size, context.enable_progress_bars, log.level
    options.preserve_order, context.target_max_block_size, context.enable_progress_bars = True, 1, False
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        options.preserve_order, context.target_max_block_size, context.enable_progress_bars, level = before
        log.setLevel(level)
