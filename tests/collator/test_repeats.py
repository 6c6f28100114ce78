"""Texts that come again within an epoch: streams, copies, and workers that nobody told the epoch."""

import copy
import multiprocessing
import pickle
from itertools import pairwise

import pytest
import torch
from datasets import Dataset, concatenate_datasets, interleave_datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset

from policylearn import PolicyCollator
from policylearn.collator.clock import Repeats
from policylearn.collator.sights import Sights
from policylearn.config import MaskingConfig
from policylearn.masking.keys import mix
from policylearn.policy.policy import uniform_policy
from policylearn.trainers.repeats import copies_in, repeats_of

TEXTS = [[2, *range(5 + i, 25 + i), 3] for i in range(8)]
PASSES = 5


class Endless(IterableDataset):
    """Every worker reads all of it, for ever."""

    def __iter__(self):
        while True:
            yield from TEXTS


def rows():
    return Dataset.from_dict({"input_ids": TEXTS})


STREAMS = {
    "repeat": lambda: rows().to_iterable_dataset(num_shards=2).repeat(None),
    "while True": Endless,
    "concatenated": lambda: concatenate_datasets([rows().to_iterable_dataset(num_shards=2)] * PASSES),
    "interleaved": lambda: interleave_datasets(
        [rows().select(half).to_iterable_dataset(num_shards=2).repeat(None) for half in (range(5), range(5, 8))]
    ),
}


def masks_by_text(batches) -> dict[tuple[int, ...], list[tuple[int, ...]]]:
    seen: dict = {}
    for batch in batches:
        texts = torch.where(batch["labels"] != -100, batch["labels"], batch["input_ids"])
        for ids, labels in zip(texts.tolist(), batch["labels"], strict=True):
            seen.setdefault(tuple(ids), []).append(tuple((labels != -100).nonzero()[:, 0].tolist()))
    return seen


def first(loader, batches):
    return [batch for batch, _ in zip(loader, range(batches), strict=False)]


def drawn(collator, data, workers=0, batches=PASSES * 4, size=2):
    loader = DataLoader(data, size, collate_fn=collator, num_workers=workers)
    return masks_by_text(first(loader, batches))


def told(tokenizer, repeats=Repeats.STREAM, epoch=0, **options):
    collator = PolicyCollator(tokenizer, **{"mlm_probability": 0.3, **options})
    collator.begin_training(repeats)
    collator.set_epoch(epoch)
    return collator


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_repeats_itself_has_a_mask_for_every_time(tokenizer, name, workers):
    seen = drawn(told(tokenizer), STREAMS[name](), workers)
    assert len(seen) >= 7 and sum(map(len, seen.values())) == PASSES * 8
    lost = 1 if workers and name in ("while True", "interleaved") else 0  # the first sight of either worker
    assert all(len(set(masks)) >= len(masks) - lost for masks in seen.values())
    assert seen == drawn(told(tokenizer), STREAMS[name](), workers)
    assert seen != drawn(told(tokenizer, seed=1), STREAMS[name](), workers)
    if not workers:  # without being told it would not, and in workers it is seen
        assert {len(set(masks)) for masks in drawn(told(tokenizer, Repeats.NONE), STREAMS[name]()).values()} == {1}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_that_does_not_has_the_masks_of_a_data_set(tokenizer, workers):
    collator = told(tokenizer, Repeats.NONE, epoch=3)
    expected = masks_by_text([collator(TEXTS)])
    stream = rows().to_iterable_dataset(num_shards=2)
    assert drawn(told(tokenizer, epoch=3), stream, workers) == expected
    assert drawn(told(tokenizer, epoch=4), stream, workers) != expected


def test_an_epoch_and_a_training_begin_anew(tokenizer):
    collator = told(tokenizer)
    one, other = (masks_by_text([collator(TEXTS)]) for _ in range(2))
    collator.set_epoch(1)
    assert masks_by_text([collator(TEXTS)]) == masks_by_text([told(tokenizer, Repeats.NONE, epoch=1)(TEXTS)])
    collator.begin_training(Repeats.STREAM)
    collator.set_epoch(0)
    assert one != other and [masks_by_text([collator(TEXTS)]) for _ in range(2)] == [one, other]


def test_what_stands_in_one_batch_twice_is_seen_twice(tokenizer):
    masks = masks_by_text([told(tokenizer)([TEXTS[0]] * 4 + TEXTS[1:2])])
    assert [len(set(found)) for found in masks.values()] == [4, 1]


def test_documents_of_a_packed_stream_too(tokenizer):
    collator, row = told(tokenizer), [*TEXTS[0], *TEXTS[1]]
    batch = {"input_ids": torch.tensor([row]), "position_ids": torch.tensor([[*range(22)] * 2])}
    labels = [collator(dict(batch))["labels"][0] for _ in range(4)]
    assert len({tuple((x[:22] != -100).tolist()) for x in labels}) == 4
    alone = told(tokenizer)
    for x in labels:
        assert x[:22].tolist() == alone(TEXTS[:1])["labels"][0].tolist()


def test_processes_differ_from_the_second_sight_on(tokenizer):
    def passes(rank):
        collator = PolicyCollator(tokenizer, mlm_probability=0.3)
        collator.begin_training(Repeats.STREAM, rank)
        collator.set_epoch(0)
        return [collator(TEXTS)["labels"] for _ in range(2)]

    one, other = passes(0), passes(3)
    assert torch.equal(one[0], other[0]) and not (one[1] == other[1]).all(1).any()


def second_sight(tokenizer, rank=None):
    """Of a text, in a training whose epoch alone is told, or the rank too."""
    collator = PolicyCollator(tokenizer, mlm_probability=0.3, vary_repeats=True)
    if rank is not None:
        collator.begin_training(Repeats.NONE, rank)
    collator.set_epoch(0)
    return [tuple(collator(TEXTS[:1])["labels"][0].tolist()) for _ in range(2)][1]


def test_the_rank_is_that_of_who_launched_the_process_unless_it_is_told(tokenizer, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    told = [second_sight(tokenizer, rank) for rank in range(4)]
    assert second_sight(tokenizer) == told[0]
    for said, rank in (("3", 3), ("", 0), ("first", 0)):
        monkeypatch.setenv("RANK", said)
        assert second_sight(tokenizer) == told[rank] and second_sight(tokenizer, 2) == told[2]
    monkeypatch.setenv("RANK", "3")
    distributed.init_process_group("fake", rank=1, world_size=4, store=distributed.HashStore())
    try:
        assert second_sight(tokenizer) == told[1]
    finally:
        distributed.destroy_process_group()


def test_as_many_ranks_as_there_may_be(tokenizer):
    assert len({second_sight(tokenizer, rank) for rank in (0, 2047, 2048, 2049, 4096, 100_000)}) == 6


def forked(rank, collator, barrier, found):
    """A rank that a notebook has forked: it tells what it knows when the other has, and then masks."""
    for tell in (lambda: collator.begin_training(Repeats.COPIES, rank), lambda: collator.set_epoch(rank)):
        barrier.wait(60)
        tell()
    barrier.wait(60)
    found.put((rank, collator(TEXTS[:2])["labels"].tolist()))


def test_ranks_that_are_forked_from_one_process_tell_themselves_alone(tokenizer):
    context = multiprocessing.get_context("fork")
    collator, barrier, found = PolicyCollator(tokenizer, mlm_probability=0.3), context.Barrier(2), context.Queue()
    processes = [context.Process(target=forked, args=(rank, collator, barrier, found)) for rank in range(2)]
    for process in processes:
        process.start()
    masks = dict(found.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    for rank in range(2):
        alone = PolicyCollator(tokenizer, mlm_probability=0.3)
        alone.begin_training(Repeats.COPIES, rank)
        alone.set_epoch(rank)
        assert masks[rank] == alone(TEXTS[:2])["labels"].tolist()
    assert collator._clock.epoch is None


def forked_with_a_worker(rank, collator, start, barrier, found):
    """A rank that a notebook has forked, with a worker that is there before anything is told."""
    settings = {"num_workers": 1, "persistent_workers": True, "multiprocessing_context": start}
    loader = DataLoader(TEXTS, len(TEXTS), collate_fn=collator, **settings)
    first(loader, 1)
    for epoch in (rank, rank + 2):
        barrier.wait(60)
        collator.set_epoch(epoch)
        barrier.wait(60)
        found.put((rank, next(iter(loader))["labels"].tolist() == collator(TEXTS)["labels"].tolist()))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_forked_rank_hear_what_they_are_told_later(tokenizer, start):
    context, ranks = multiprocessing.get_context("fork"), 2 if start == "fork" else 1  # each imports everything anew
    collator, barrier, found = PolicyCollator(tokenizer, mlm_probability=0.3), context.Barrier(ranks), context.Queue()
    given = collator, start, barrier, found
    processes = [context.Process(target=forked_with_a_worker, args=(rank, *given)) for rank in range(ranks)]
    for process in processes:
        process.start()
    heard = sorted(found.get(timeout=60) for _ in range(2 * ranks))
    for process in processes:
        process.join()
    assert heard == [(rank, True) for rank in range(ranks) for _ in range(2)]


@pytest.mark.parametrize("workers", [0, 2])
def test_exploring_masks_take_turns_from_one_time_to_the_next(tokenizer, workers):
    policy = uniform_policy(tokenizer, MaskingConfig(rate=0.2, design="explore", draws=5))
    collator = told(tokenizer, policy=policy, mlm_probability=None)
    seen = drawn(collator, rows().to_iterable_dataset(num_shards=2).repeat(None), workers, batches=5 * 4)
    for masks in seen.values():
        assert len(masks) == 5 and sorted(sum(masks, ())) == [*range(1, 21)]


@pytest.mark.parametrize("workers", [0, 2])
def test_copies_have_masks_of_their_own_where_that_is_wanted(tokenizer, workers):
    data = concatenate_datasets([rows()] * PASSES)
    for collator in (told(tokenizer, Repeats.COPIES), told(tokenizer, Repeats.NONE, vary_repeats=True)):
        seen = drawn(collator, data, workers, size=3, batches=99)
        assert len(seen) == 8 and all(len(masks) == len(set(masks)) == PASSES for masks in seen.values())
    for collator in (told(tokenizer, Repeats.NONE), told(tokenizer, Repeats.COPIES, vary_repeats=False)):
        assert {len(set(masks)) for masks in drawn(collator, data, workers, batches=99).values()} == {1}


def test_copies_of_one_data_set_are_seen_and_said():
    data = rows()
    twins = torch.utils.data.ConcatDataset([TEXTS, TEXTS])
    assert [copies_in(x) for x in (data, concatenate_datasets([data] * 5), twins, TEXTS)] == [0, 5, 2, 0]
    assert copies_in(concatenate_datasets([data, data.select(range(7, -1, -1))])) == 0
    with pytest.warns(UserWarning, match="5 copies of one"):
        assert repeats_of(DataLoader(concatenate_datasets([data] * 5))) == Repeats.COPIES
    assert repeats_of([DataLoader(data), DataLoader(Endless())]) == Repeats.STREAM


@settings(max_examples=20)
@given(st.integers(0, 999), st.integers(1, 6))
def test_blank_lines_are_no_copies(seed, times):
    """As of wikitext: a heading between blank lines, paragraphs, and a blank line where an article ends."""
    draw = torch.Generator().manual_seed(seed)
    lines: list[list[int]] = []
    while len(lines) < 120:
        paragraphs = [[2, 20 + i, len(lines) + i, 3] for i in range(int(torch.randint(1, 5, (), generator=draw)))]
        lines += [[2, 3], [2, 10, len(lines), 3], [2, 3], *paragraphs, [2, 3]]
    data = Dataset.from_dict({"input_ids": [*lines[:119], [2, 3]]})
    assert copies_in(concatenate_datasets([data] * times)) == (times if times > 1 else 0)


def test_a_row_that_comes_again_is_no_copy_and_rows_that_are_all_one_are():
    assert copies_in(Dataset.from_dict({"x": [0, 0, 1, 0]})) == 0
    assert copies_in(Dataset.from_dict({"x": [0] * 5})) == 5


def test_a_copy_of_a_collator_has_seen_nothing_and_carries_nothing(tokenizer):
    collator = told(tokenizer)
    once = collator(TEXTS)["labels"]
    for other in (copy.deepcopy(collator), pickle.loads(pickle.dumps(collator))):
        assert torch.equal(other(TEXTS)["labels"], once)
    assert len(pickle.dumps(collator)) < len(pickle.dumps(told(tokenizer))) + 200


@settings(max_examples=20)
@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12), max_size=12))
def test_sights_are_counted_one_by_one(batches):
    sights, seen = Sights(), []
    for batch in batches:
        counted = sights.before(mix(torch.tensor(batch)), since=0).tolist()
        for key, before in zip(batch, counted, strict=True):
            assert before == seen.count(key)
            seen.append(key)


def test_more_texts_than_counters_are_still_counted_upwards():
    sights, keys = Sights(), mix(torch.arange(2_000_000))
    one, two, three = (sights.before(keys, since=0) for _ in range(3))
    assert bool((one < two).all() and (two < three).all())


@pytest.mark.parametrize(("start", "persistent"), [("fork", False), ("fork", True), ("spawn", False)])
def test_without_the_epoch_two_runs_have_the_same_masks_and_epochs_do_not(tokenizer, persistent, start):
    """Whatever torch's own generator is at."""

    def run():
        collator = PolicyCollator(tokenizer, seed=42, mlm_probability=0.3)
        workers = 1 if start == "spawn" else 2  # each imports everything anew
        settings = {"num_workers": workers, "persistent_workers": persistent, "multiprocessing_context": start}
        loader = DataLoader(TEXTS, 2, collate_fn=collator, **settings)
        return [masks_by_text(loader) for _ in range(1 if start == "spawn" else 3)]

    epochs = run()
    assert epochs == run() and epochs[0].keys() == {tuple(text) for text in TEXTS}
    assert all(sum(one[text] != other[text] for text in one) > 4 for one, other in pairwise(epochs))


def test_a_part_that_comes_again_is_counted_and_not_the_others():
    one, other = (Dataset.from_dict({"x": [n]}) for n in (1, 2))
    assert copies_in(ConcatDataset([one, one, other])) == 2 and copies_in(ConcatDataset([one, other])) == 0
