"""Collocations as units: neighbouring words that a table knows to belong together are masked as one.

The table is made by `scores.collocations`, as in PMI-masking (Levine et al., ICLR 2021). It holds keys and no text, so
that units are found from `ids` alone.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from policylearn.masking.keys import GOLDEN, mix
from policylearn.masking.units import leads


def ngram_keys(words: Tensor, longest: int) -> Iterator[Tensor]:
    """64-bit keys of all runs of 1, 2, … `longest` words, one tensor per length n: [..., N - n + 1] int64.

    The key of a single word is its own; a run of n words continues the run of its first n - 1:

        key(w₁ … wₙ) = mix(key(w₁ … wₙ₋₁) · GOLDEN + mix(key(wₙ) + n))

    Args:
        words: [..., N] int64, of `units.word_keys`, one per word.
        longest: so many tensors come, the last ones empty where there are fewer words.

    >>> two, three = list(ngram_keys(torch.tensor([7, 8, 7, 8]), 3))[1:]
    >>> len(two), len(three), bool(two[0] == two[2]), bool(two[0] == two[1])
    (3, 2, True, False)
    """
    run = words
    yield run
    for n in range(2, longest + 1):
        run = run[..., :-1] * GOLDEN + mix(words[..., n - 1 :] + n)
        run = mix(run)
        yield run


def contained(keys: Tensor, table: Tensor) -> Tensor:
    """True where a key stands in a sorted table [C], boolean like `keys`.

    >>> contained(torch.tensor([3, 4, 9]), torch.tensor([1, 4]))
    tensor([False,  True, False])
    """
    if not len(table):
        return torch.zeros_like(keys, dtype=torch.bool)
    place = torch.searchsorted(table, keys.contiguous()).clamp(max=len(table) - 1)
    return table[place] == keys


def join_collocations(starts: Tensor, keys: Tensor, eligible: Tensor, table: Tensor, longest: int) -> Tensor:
    """Words joined to collocations: True where a unit begins, [B, T] boolean.

    The boundary between two words goes where a collocation of the table covers both. Overlapping collocations join
    into one unit ("neural machine" and "machine translation" make "neural machine translation"), a word in none stays
    a unit of its own, and a word with a position that is not eligible belongs to no collocation.

    Time is linear in B · T · longest, memory in B · T.

    Args:
        starts: [B, T] of `units.word_starts`.
        keys: [B, T] of `units.word_keys`, read where a word begins.
        eligible: [B, T] boolean, of `eligible_positions`.
        table: [C] int64, sorted keys of collocations, of `ngram_keys`.
        longest: words of the longest collocation in the table.

    >>> words = torch.tensor([[7, 8, 0, 9]])  # the second word has two pieces
    >>> starts = torch.tensor([[True, True, False, True]])
    >>> table = list(ngram_keys(torch.tensor([7, 8]), 2))[1]
    >>> join_collocations(starts, words, torch.ones(1, 4, dtype=torch.bool), table, longest=2)
    tensor([[ True, False, False,  True]])
    """
    number = (starts.long().cumsum(1) - 1).clamp(min=0)
    whole = _whole_words(starts, eligible)
    # Words side by side: word j of a row at column j, no matter how many pieces it has.
    words = torch.zeros_like(number).scatter_add(1, number, torch.where(starts, keys, 0))
    usable = torch.zeros_like(number).scatter_add(1, number, (starts & whole).long()) > 0
    joined = _joined(words, usable, table, longest)
    return starts & ~joined.gather(1, number)


def _whole_words(starts: Tensor, eligible: Tensor) -> Tensor:
    """True at the lead of a word all of whose positions are eligible, [B, T]; meaningless elsewhere."""
    return torch.zeros_like(starts, dtype=torch.long).scatter_add(1, leads(starts), (~eligible).long()) == 0


def _joined(words: Tensor, usable: Tensor, table: Tensor, longest: int) -> Tensor:
    """True at every word that a collocation joins to the word before it, [B, N] boolean."""
    here = torch.arange(words.shape[1], device=words.device).expand_as(words)
    reach, whole = here, usable
    for n, run in enumerate(ngram_keys(words, longest), start=1):
        # n words that are all usable, and whose key is known, reach up to the last of them.
        whole = whole if n == 1 else whole[:, :-1] & usable[:, n - 1 :]
        if n > 1:
            found = pad(whole & contained(run, table), (0, words.shape[1] - run.shape[1]))
            reach = torch.where(found, here + n - 1, reach)
    furthest = reach.cummax(1).values
    return pad(furthest[:, :-1] >= here[:, 1:], (1, 0))
