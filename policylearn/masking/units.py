"""Units: what is masked as one. A unit is named by its lead, the position of its first token.

    starts [B, T]  True where a unit begins
    lead   [B, T]  position of the first token of the unit each position belongs to

Everything comes from `input_ids` and tables over the vocabulary (`masking.vocabulary`), in memory linear in B · T.
"""

import torch
from torch import Tensor

from policylearn.masking.budget import budget
from policylearn.masking.designs import DesignName, draw_mask
from policylearn.masking.keys import GOLDEN, Stream, mix, uniforms
from policylearn.masking.vocabulary import Vocabulary


def word_starts(input_ids: Tensor, real: Tensor, vocabulary: Vocabulary) -> Tensor:
    """True where a word begins, [B, T] boolean. Special tokens and padding are words of their own.

    A piece begins a word if it carries the mark of one, or if the character class it begins with differs from the
    class the piece before it ends with (byte-level BPE splits "don't" and "(x)" without any mark).

    Args:
        input_ids: [B, T].
        real: [B, T] boolean, not padding.
        vocabulary: of `masking.vocabulary`.
    """
    alone = vocabulary.special[input_ids] | ~real
    first, last = vocabulary.first[input_ids], torch.where(alone, 0, vocabulary.last[input_ids])
    last = last.gather(1, leads(last >= 0))  # a part of a character is of the class its beginning has
    starts = vocabulary.opens[input_ids] | alone
    before, after = last[:, :-1], first[:, 1:]
    starts[:, 1:] |= (before > 0) & (after > 0) & (before != after) | alone[:, :-1]
    starts[:, :1] = True
    return starts


def leads(starts: Tensor) -> Tensor:
    """Position of the last start at or before each position, [B, T] int64.

    >>> leads(torch.tensor([[True, False, False, True, False]]))
    tensor([[0, 0, 0, 3, 3]])
    """
    here = torch.arange(starts.shape[1], device=starts.device).expand_as(starts)
    return torch.where(starts, here, 0).cummax(1).values


def sizes(lead: Tensor) -> Tensor:
    """Number of tokens of the unit that begins at each position, 0 where none does; [B, T] int64.

    >>> sizes(torch.tensor([[0, 0, 0, 3, 3]]))
    tensor([[3, 0, 0, 2, 0]])
    """
    return torch.zeros_like(lead).scatter_add(1, lead, torch.ones_like(lead))


def word_keys(input_ids: Tensor, lead: Tensor) -> Tensor:
    """64-bit key of the word at each lead (a hash of its pieces in order), 0 elsewhere; [B, T] int64.

    >>> ids, lead = torch.tensor([[5, 8, 5, 8]]), torch.tensor([[0, 0, 2, 2]])
    >>> keys = word_keys(ids, lead)
    >>> bool(keys[0, 0] == keys[0, 2]), keys[0, 1].item()
    (True, 0)
    """
    place = torch.arange(lead.shape[1], device=lead.device) - lead
    pieces = mix(input_ids.long() * GOLDEN + mix(place + 1))
    total = torch.zeros_like(lead).scatter_add(1, lead, pieces)
    return torch.where(sizes(lead) > 0, mix(total), 0)


def span_starts(starts: Tensor, eligible: Tensor, keys: Tensor, index: Tensor, mean: float, longest: int) -> Tensor:
    """Words joined to random spans: True where a span begins, [B, T] boolean.

    Every word begins a new span with probability 1 / mean, so lengths (in words) are geometric, as in SpanBERT
    (Joshi et al., TACL 2020); what would be longer than `longest` words goes on as the next span. No span holds
    a position that is not eligible.

    Args:
        starts: [B, T] of `word_starts`.
        eligible: [B, T] boolean.
        keys, index: of `masking.keys`: the same example is cut in the same way.
        mean: mean of the geometric distribution, in words, at least 1.
        longest: at most so many words in a span.
    """
    fresh = ~eligible
    fresh[:, 1:] |= ~eligible[:, :-1]
    fresh[:, :1] = True
    begins = fresh | (starts & (uniforms(keys, index, Stream.SPAN) * mean < 1.0))
    word = starts.long().cumsum(1)
    return starts & ((word - word.gather(1, leads(begins))) % longest == 0)


def unit_probabilities(logits: Tensor, eligible: Tensor, lead: Tensor, rate: float, p_max: float) -> Tensor:
    """Inclusion probabilities of units, given to each of their tokens: the budget of tokens, spent on units.

    A unit's logit is the mean of its tokens'. Σ p over tokens is rate · n, as if tokens were masked one by one.

    Args:
        logits: [B, T] per token.
        eligible: [B, T] boolean; the tokens of a unit are all eligible, or none.
        lead: [B, T] of `leads`.
        rate, p_max: as in `budget`.

    Returns:
        [B, T] float64.

    >>> lead = torch.tensor([[0, 0, 2, 3]])
    >>> unit_probabilities(torch.zeros(1, 4), lead >= 0, lead, 0.5, 0.9)
    tensor([[0.5000, 0.5000, 0.5000, 0.5000]], dtype=torch.float64)
    """
    size = sizes(lead)
    total = torch.zeros_like(logits).scatter_add(1, lead, torch.where(eligible, logits, 0.0))
    p = budget(total / size.clamp(min=1), eligible & (size > 0), rate, p_max, sizes=size)
    return p.gather(1, lead)


def draw_units(
    design: DesignName, p: Tensor, keys: Tensor, index: Tensor, lead: Tensor | None, draw: int = 0, draws: int = 1
) -> Tensor:
    """A mask of whole units, [B, T] boolean: the design draws leads, and a unit goes with its lead.

    Args:
        design, keys, index, draw, draws: as in `draw_mask`.
        p: [B, T], the same for all tokens of a unit.
        lead: [B, T] of `leads`; None: every token is a unit.
    """
    if lead is None:
        return draw_mask(design, p, keys, index, draw, draws)
    first = lead == torch.arange(lead.shape[1], device=lead.device)
    return draw_mask(design, torch.where(first, p, 0.0), keys, index, draw, draws).gather(1, lead)
