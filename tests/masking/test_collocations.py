from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from policylearn.masking import word_keys
from policylearn.masking.collocations import join_collocations, ngram_keys

WORDS = (-3, 5, 2**62)
"""Keys of three words: few, so that what the table holds is met often."""

PIECES = st.tuples(st.booleans(), st.sampled_from(WORDS), st.sampled_from([True, True, True, False]))
ROW = st.lists(PIECES, min_size=1, max_size=14)
NGRAM = st.lists(st.sampled_from(WORDS), min_size=2, max_size=4).map(tuple)
TABLE = st.sets(NGRAM, max_size=6)


def key(ngram: tuple[int, ...]) -> int:
    """Key of one run of words."""
    return int(list(ngram_keys(torch.tensor(ngram), len(ngram)))[-1])


def tensors(row: list[tuple[bool, int, bool]]) -> tuple[Tensor, Tensor, Tensor]:
    """starts, keys and eligible of one row, [1, T] each; what stands in `keys` inside a word must not matter."""
    starts, keys, eligible = (torch.tensor([column]) for column in zip(*row, strict=True))
    starts[:, 0] = True
    return starts, keys, eligible


def joined(row: tuple[Tensor, Tensor, Tensor], table: set[tuple[int, ...]]) -> list[bool]:
    keys = torch.tensor(sorted(map(key, table)), dtype=torch.int64)
    return join_collocations(*row, keys, longest=max(map(len, table), default=0))[0].tolist()


def joined_by_hand(row: tuple[Tensor, Tensor, Tensor], table: set[tuple[int, ...]]) -> list[bool]:
    starts, keys, eligible = (values[0].tolist() for values in row)
    leads = [i for i, start in enumerate(starts) if start]
    ends = [*leads[1:], len(starts)]
    words = [keys[i] if all(eligible[i:j]) else None for i, j in zip(leads, ends, strict=True)]
    for n in range(2, 5):
        for first in range(len(words) - n + 1):
            if tuple(words[first : first + n]) in table:
                for word in range(first + 1, first + n):
                    starts[leads[word]] = False
    return starts


@settings(max_examples=300)
@given(ROW, TABLE)
def test_boundaries_go_exactly_where_a_collocation_covers_both_words(row, table):
    assert joined(tensors(row), table) == joined_by_hand(tensors(row), table)


@settings(max_examples=100)
@given(ROW, TABLE, st.integers(0, 4), st.integers(0, 4), st.sampled_from(WORDS))
def test_padding_on_either_side_changes_nothing(row, table, left, right, word):
    pad, row = (True, word, False), [(True, *row[0][1:]), *row[1:]]
    padded = joined(tensors([*[pad] * left, *row, *[pad] * right]), table)
    assert padded == [True] * left + joined(tensors(row), table) + [True] * right


@settings(max_examples=50)
@given(st.lists(st.lists(PIECES, min_size=9, max_size=9), min_size=2, max_size=4), TABLE)
def test_the_rows_of_a_batch_know_nothing_of_each_other(rows, table):
    batch = [torch.cat(column) for column in zip(*map(tensors, rows), strict=True)]
    keys = torch.tensor(sorted(map(key, table)), dtype=torch.int64)
    together = join_collocations(*batch, keys, longest=4)
    assert together.tolist() == [joined(tensors(row), table) for row in rows]


@pytest.mark.parametrize("longest", [2, 3, 4])
def test_overlapping_collocations_join(longest):
    a, b, c = WORDS
    row = tensors([(True, word, True) for word in (a, b, c, a)])
    assert joined(row, {(a, b), (b, c)}) == [True, False, False, True]
    # What is longer than `longest` is not looked for.
    keys = torch.tensor(sorted(map(key, {(a, b, c, a), (b, c, a), (c, a)})))
    expected = {2: [True, True, True, False], 3: [True, True, False, False], 4: [True, False, False, False]}
    assert join_collocations(*row, keys, longest)[0].tolist() == expected[longest]


def test_an_empty_table_joins_nothing():
    row = tensors([(True, 5, True)] * 4)
    assert joined(row, set()) == [True] * 4


def test_the_keys_of_different_runs_differ():
    words = word_keys(torch.arange(30)[None], torch.arange(30)[None])[0].tolist()
    runs = torch.tensor(list(product(words, repeat=3)))
    one, two, three = ngram_keys(runs, 3)
    assert len(torch.cat([one[:, 0], two[:, 0], three[:, 0]]).unique()) == 30 + 30**2 + 30**3


def test_a_runs_key_is_that_of_its_words_wherever_they_stand():
    alone = list(ngram_keys(torch.tensor([7, 8, 9]), 3))[2]
    inside = list(ngram_keys(torch.tensor([[1, 7, 8, 9, 7, 8, 9]]), 3))[2]
    assert (inside == alone).nonzero().tolist() == [[0, 1], [0, 4]]
