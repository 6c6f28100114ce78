"""No unit is longer than the share of its text that is to be masked.

A longer one could only be masked too often, or with the text left without a mask at other times. In a script without
spaces the words of many tokenizers are whole texts; a web address or a gene may be one as well. So

- a word longer than max(1, ⌊rate · n⌋) tokens is none: each of its tokens stands for itself;
- a span or a collocation longer than that goes on as the next one, cut between words.

Units of z_i ≤ rate · n tokens whose budget is Σ z_i p_i = rate · n have Σ p_i ≥ 1, whatever p: the mean share masked is
the rate, and no text is read in vain.
"""

import torch
from torch import Tensor

from policylearn.masking.units import leads, sizes


def longest_units(eligible: Tensor, rate: float) -> Tensor:
    """Tokens that a unit of each text may have, [B, 1] int64.

    Args:
        eligible: [B, T] boolean.
        rate: share of eligible tokens to mask.

    >>> longest_units(torch.ones(1, 20).bool(), 0.15), longest_units(torch.ones(1, 5).bool(), 0.15)
    (tensor([[3]]), tensor([[1]]))
    """
    return (rate * eligible.sum(1, keepdim=True).double()).floor().long().clamp(min=1)


def split_long_words(starts: Tensor, longest: Tensor) -> Tensor:
    """True where a word begins, [B, T], every token of a word that is too long being one by itself.

    >>> split_long_words(torch.tensor([[True, False, True, False, False]]), torch.tensor([[2]]))
    tensor([[ True, False,  True,  True,  True]])
    """
    lead = leads(starts)
    return starts | (sizes(lead).gather(1, lead) > longest)


def cut_long_units(starts: Tensor, words: Tensor, longest: Tensor) -> Tensor:
    """True where a unit begins, [B, T]: one too long ends with the last word that fits and goes on as the next.

    Args:
        starts: [B, T] boolean, where units begin, each where a word does.
        words: [B, T] of `split_long_words`.
        longest: [B, 1] of `longest_units`.

    >>> words = torch.tensor([[True, True, False, True, True]])
    >>> cut_long_units(torch.tensor([[True, False, False, False, False]]), words, torch.tensor([[2]]))
    tensor([[ True,  True, False,  True, False]])
    """
    here = torch.arange(starts.shape[1], device=starts.device)
    while True:
        lead = leads(starts)
        long = sizes(lead).gather(1, lead) > longest
        if not bool(long.any()):
            return starts
        fitting = long & words & (here > lead) & (here - lead <= longest)
        last = torch.zeros_like(lead).scatter_reduce(1, lead, torch.where(fitting, here, 0), "amax")
        starts = starts | (fitting & (here == last.gather(1, lead)))
