"""How long a unit may be, so that every text can be masked at the rate.

A design masks at least one unit of every text if Σ p_i ≥ 1, and the mean share is the rate if Σ z_i p_i = rate · n.
Both can be had where all p_i = rate give the first, that is where rate · units ≥ 1 (see `masking.budget`). So

- in a text of fewer units, those longer than max(1, ⌊rate · n⌋) tokens are cut: then n ≤ units · rate · n;
- a word longer than that and than `LONGEST_WORD` is none anywhere. In a script without spaces the words of many
  tokenizers are whole texts; a web address or a gene may be one as well.

A word that is cut is masked token by token; a span or a collocation goes on as the next one, cut between words.
"""

import torch
from torch import Tensor

from policylearn.masking.units import leads, sizes

LONGEST_WORD = 16
"""Tokens of a word. Those of spoken languages, as tokenizers cut them, are shorter."""
NO_BLANKS = (
    "to many tokenizers a text without blanks is one word; put blanks between its words, or set model.tokenizer to one "
    "that makes words of characters"
)
"""What to do where words are so long that none occurs often."""


def split_long_words(starts: Tensor, eligible: Tensor, rate: float | Tensor) -> Tensor:
    """True where a word begins, [B, T], every token of a word that is too long being one by itself.

    Args:
        starts: [B, T] boolean, where words begin.
        eligible: [B, T] boolean.
        rate: share of eligible tokens to mask; [B, 1] if rows have one each.

    >>> split_long_words(torch.tensor([[True, False, True, False, False]]), torch.ones(1, 5).bool(), 0.4)
    tensor([[ True, False,  True,  True,  True]])
    """
    share = share_in_tokens(eligible, rate)
    words = _split(starts, share.clamp(min=LONGEST_WORD))
    return _split(words, torch.where(too_few(words, eligible, rate), share, starts.shape[1]))


def cut_long_units(starts: Tensor, words: Tensor, eligible: Tensor, rate: float | Tensor) -> Tensor:
    """True where a unit begins, [B, T]: one too long ends with the last word that fits and goes on as the next.

    Args:
        starts: [B, T] boolean, where units begin, each where a word does.
        words: [B, T] of `split_long_words`.
        eligible, rate: as there.

    >>> words, eligible = torch.tensor([[True, True, False, True, True]]), torch.ones(1, 5).bool()
    >>> cut_long_units(torch.tensor([[True, False, False, False, False]]), words, eligible, 0.4)
    tensor([[ True,  True, False,  True, False]])
    """
    longest = torch.where(too_few(starts, eligible, rate), share_in_tokens(eligible, rate), starts.shape[1])
    words, here = _split(words, longest), torch.arange(starts.shape[1], device=starts.device)
    while True:
        lead = leads(starts)
        long = sizes(lead).gather(1, lead) > longest
        if not bool(long.any()):
            return starts
        fitting = long & words & (here > lead) & (here - lead <= longest)
        last = torch.zeros_like(lead).scatter_reduce(1, lead, torch.where(fitting, here, 0), "amax")
        starts = starts | (fitting & (here == last.gather(1, lead)))


def share_in_tokens(eligible: Tensor, rate: float | Tensor) -> Tensor:
    """Whole tokens of each text that are to be masked, at least one, [B, 1] int64.

    >>> share_in_tokens(torch.ones(1, 20).bool(), 0.15), share_in_tokens(torch.ones(1, 5).bool(), 0.15)
    (tensor([[3]]), tensor([[1]]))
    """
    return (rate * eligible.sum(1, keepdim=True).double()).floor().long().clamp(min=1)


def too_few(starts: Tensor, eligible: Tensor, rate: float | Tensor) -> Tensor:
    """Whether a text has fewer than 1 / rate units that may be masked, [B, 1] boolean.

    >>> too_few(torch.tensor([[True] * 4, [True] * 3 + [False]]), torch.ones(2, 4).bool(), 0.25)
    tensor([[False],
            [ True]])
    """
    return rate * (starts & eligible).sum(1, keepdim=True).double() < 1.0


def _split(starts: Tensor, longest: Tensor) -> Tensor:
    lead = leads(starts)
    return starts | (sizes(lead).gather(1, lead) > longest)
