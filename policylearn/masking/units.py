"""Units: what is masked as one. A unit is named by its lead, the position of its first token.

    starts [B, T]  True where a unit begins
    lead   [B, T]  position of the first token of the unit each position belongs to

Everything comes from `ids` and tables over the vocabulary (`masking.vocabulary`), in memory linear in B · T.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from policylearn.masking.budget import budget
from policylearn.masking.designs import DesignName, draw_mask
from policylearn.masking.eligibility import look_up
from policylearn.masking.keys import GOLDEN, Stream, mix, uniforms
from policylearn.masking.vocabulary import ANY, CLOSED, SAME, Vocabulary

ALWAYS, AFTER_SPECIAL = 1 << CLOSED, 1 << CLOSED + 1
"""Bits of `Borders` beside those of the classes of characters, which are 1 << class - 1."""


class Borders(NamedTuple):
    """A vocabulary as bits: a word begins between two pieces if `after` of the first and `before` of the second share
    one. One AND per position then stands for all comparisons of classes.

    Attributes:
        before: [V] int8, what a piece must not follow if it is to continue a word.
        after: [V] int8, what a piece is to the one behind it; negative if that depends on the piece before it.
        depends: any of `after` is negative.
    """

    before: Tensor
    after: Tensor
    depends: bool


def borders(vocabulary: Vocabulary) -> Borders:
    """The bits of a vocabulary.

    >>> wordpiece = Vocabulary(torch.tensor([False] * 2), torch.tensor([True, False]), *torch.ones(2, 2).char())
    >>> borders(wordpiece)  # the second continues words of letters
    Borders(before=tensor([126,  94], dtype=torch.int8), after=tensor([33, 33], dtype=torch.int8), depends=False)
    """
    classes = torch.arange(CLOSED + 1, device=vocabulary.first.device)
    bits = torch.where(classes == ANY, 0, 1 << (classes - 1).clamp(min=0))
    first = torch.where(vocabulary.first == ANY, 0, (ALWAYS - 1) ^ bits[vocabulary.first.long()])
    before = first | AFTER_SPECIAL | torch.where(vocabulary.opens | vocabulary.special, ALWAYS, 0)
    last = torch.where(vocabulary.last == SAME, -128, bits[vocabulary.last.long()])
    after = torch.where(vocabulary.special, AFTER_SPECIAL, last) | ALWAYS
    return Borders(before.char(), after.char(), bool((after < 0).any()))


def word_borders(ids: Tensor, real: Tensor, borders: Borders) -> Tensor:
    """`word_starts` for one who has kept the `borders` of the vocabulary."""
    before, after = look_up(borders.before, ids), look_up(borders.after, ids)
    pad = ~real.bool()
    if borders.depends:  # a part of a character is of the class its beginning has
        after = after.masked_fill(pad, ALWAYS)
        known = after >= 0
        after = torch.where(known, after, after.gather(1, leads(known)) & ~AFTER_SPECIAL)
    starts = torch.ones_like(pad)
    starts[:, 1:] = (after[:, :-1] & before[:, 1:]).bool()
    starts |= pad
    starts[:, 1:] |= pad[:, :-1]
    return starts


def numbered_starts(numbers: Tensor, real: Tensor, special: Tensor) -> Tensor:
    """True where a word begins, [B, T] boolean; special tokens and padding are words of their own.

    Args:
        numbers: [B, T], the word that each token is in, negative for none.
        real: [B, T] boolean, not padding.
        special: [B, T] boolean, among them what the tokenizer does not know, which some count to a word.

    >>> special = torch.tensor([[True, True, False, False, False, True, False]])
    >>> numbered_starts(torch.tensor([[-1, -1, 0, 0, 1, 1, 1]]), torch.ones(1, 7, dtype=torch.bool), special)
    tensor([[ True,  True,  True, False,  True,  True,  True]])
    """
    alone, starts = special | ~real, torch.ones_like(real)
    starts[:, 1:] = (numbers[:, 1:] != numbers[:, :-1]) | (numbers[:, 1:] < 0) | alone[:, 1:] | alone[:, :-1]
    return starts


def word_starts(ids: Tensor, real: Tensor, vocabulary: Vocabulary) -> Tensor:
    """True where a word begins, [B, T] boolean. Special tokens and padding are words of their own.

    A piece begins a word if it carries the mark of one, or if the character class it begins with differs from the
    class the piece before it ends with (byte-level BPE splits "don't" and "(x)" without any mark).

    Args:
        ids: [B, T].
        real: [B, T] boolean, not padding.
        vocabulary: of `masking.vocabulary`.
    """
    return word_borders(ids, real, borders(vocabulary))


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


def word_keys(ids: Tensor, lead: Tensor) -> Tensor:
    """64-bit key of the word at each lead (a hash of its pieces in order), 0 elsewhere; [B, T] int64.

    >>> ids, lead = torch.tensor([[5, 8, 5, 8]]), torch.tensor([[0, 0, 2, 2]])
    >>> keys = word_keys(ids, lead)
    >>> bool(keys[0, 0] == keys[0, 2]), keys[0, 1].item()
    (True, 0)
    """
    here = torch.arange(lead.shape[1], device=lead.device)
    places = look_up(mix(here + 1), here - lead)
    pieces = mix((ids.long() * GOLDEN).add_(places))
    return mix(torch.zeros_like(lead).scatter_add(1, lead, pieces))  # what nothing was added to stays 0


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


def unit_probabilities(logits: Tensor, eligible: Tensor, lead: Tensor, rate: float | Tensor, p_max: float) -> Tensor:
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
    total = torch.zeros_like(logits).scatter_add(1, lead, logits)
    p = budget(total / size.clamp(min=1), eligible & size.bool(), rate, p_max, sizes=size)
    return p.gather(1, lead)


def draw_units(
    design: DesignName,
    p: Tensor,
    keys: Tensor,
    index: Tensor,
    lead: Tensor | None,
    draw: int | Tensor = 0,
    draws: int = 1,
) -> Tensor:
    """A mask of whole units, [B, T] boolean: the design draws leads, and a unit goes with its lead.

    Args:
        design, keys, index, draw, draws: as in `draw_mask`.
        p: [B, T], the same for all tokens of a unit.
        lead: [B, T] of `leads`; None: every token is a unit.
    """
    if lead is None:
        return draw_mask(design, p, keys, index, draw, draws)
    return draw_mask(design, at_leads(p, lead), keys, index, draw, draws).gather(1, lead)


def at_leads(x: Tensor, lead: Tensor | None) -> Tensor:
    """x [B, T] at the leads of units, zero elsewhere: what a design is shown.

    >>> at_leads(torch.tensor([[0.3, 0.3, 0.5]]), torch.tensor([[0, 0, 2]]))
    tensor([[0.3000, 0.0000, 0.5000]])
    """
    if lead is None:
        return x
    return torch.where(lead == torch.arange(lead.shape[1], device=lead.device), x, torch.zeros_like(x))
