"""Texts cut into spans that a network wants: any run of up to L words may be one, its probability that of its two ends.

    p(span i … j) ∝ (1 − 1 / mean)^(words − 1) · exp(start_i + end_j),      over all candidates of a text

Before anything is learned lengths are geometric, as those of SpanBERT's spans (Joshi et al., TACL 2020).

The spans of a cut are drawn from p one after another, each among the candidates that overlap none drawn before, until
no word is left: a word by itself is a candidate too. What a unit of a cut is worth is another matter (`span_logits`).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from policylearn.masking.keys import Stream, uniforms
from policylearn.masking.units import leads, sizes


class Words(NamedTuple):
    """The W eligible words of each text, in order.

    Attributes:
        there: [B, W] boolean, False behind the last of a row.
        first, last: [B, W] positions of a word's first and last token.
        run: [B, W] number of the run of neighbouring words it belongs to, -1 where none is there.
    """

    there: Tensor
    first: Tensor
    last: Tensor
    run: Tensor


def eligible_words(starts: Tensor, eligible: Tensor) -> Words:
    """The words of texts [B, T], from where words begin (`word_starts`) and what may be masked, both boolean.

    >>> words = eligible_words(torch.tensor([[1, 1, 0, 1, 1]]).bool(), torch.tensor([[1, 1, 1, 0, 1]]).bool())
    >>> words.first, words.last, words.run
    (tensor([[0, 1, 4]]), tensor([[0, 2, 4]]), tensor([[1, 1, 2]]))
    """
    begins = starts & eligible
    count = begins.sum(1, keepdim=True)
    first = (~begins).long().argsort(dim=1, stable=True)[:, : int(count.max())]
    there = torch.arange(first.shape[1], device=first.device) < count
    last = first + sizes(leads(starts)).gather(1, first) - 1
    apart = torch.ones_like(there)
    apart[:, 1:] = first[:, 1:] != last[:, :-1] + 1
    return Words(there, first, last, apart.cumsum(1).masked_fill(~there, -1))


def candidate_logits(ends: Tensor, words: Words, mean: float, longest: int) -> Tensor:
    """log p + constant of the span of words w to w + l, [B, W, L] float64; -inf where that is no candidate.

    Args:
        ends: [B, T, 2 or more], start and end logits.
        words: of `eligible_words`.
        mean: of the geometric distribution of lengths, in words.
        longest: L, words in the longest candidate.
    """
    length = torch.log((1 - 1 / torch.tensor(mean).double()) ** torch.arange(longest))
    start, end = ends[..., 0].gather(1, words.first).double(), ends[..., 1].gather(1, words.last).double()
    joined = words.there[..., None] & (neighbours(words.run, longest, -1) == words.run[..., None])
    return (start[..., None] + neighbours(end, longest, 0) + length.to(ends.device)).masked_fill(~joined, -torch.inf)


def span_logits(found: Tensor, lead: Tensor | None) -> Tensor:
    """What each unit is worth: start of its first token + end of its last + inside, of which a unit has the mean of its
    tokens; [B, T].

    Args:
        found: [B, T, 3], start, end and inside logits.
        lead: [B, T], the unit of each position; None: every token is one.

    >>> found = torch.tensor([[[1.0, 10.0, 0.1], [2.0, 20.0, 0.2], [3.0, 30.0, 0.3]]])
    >>> span_logits(found, torch.tensor([[0, 1, 1]]))
    tensor([[11.1000, 32.2000, 32.3000]])
    """
    if lead is None:
        return found.sum(2)
    last = lead + sizes(lead).gather(1, lead) - 1
    return found[..., 0].gather(1, lead) + found[..., 1].gather(1, last) + found[..., 2]


def drawn_span_starts(
    ends: Tensor, starts: Tensor, eligible: Tensor, keys: Tensor, index: Tensor, mean: float, longest: int
) -> Tensor:
    """True where a span begins, [B, T] boolean: spans drawn from p without overlap.

    Drawing one after another without replacement is taking the highest of logit + Gumbel noise first (Gumbel-top-k,
    Kool et al., ICML 2019); the noise is keyed, so the same example is cut in the same way.

    Args:
        ends: [B, T, 2 or more], start and end logits.
        starts: [B, T] of `word_starts`.
        eligible: [B, T] boolean.
        keys, index: of `masking.keys`.
        mean, longest: as in `candidate_logits`.
    """
    words = eligible_words(starts, eligible)
    if not words.first.shape[1]:
        return starts
    logits = candidate_logits(ends, words, mean, longest)
    place = index.gather(1, words.first)[..., None] * longest + torch.arange(longest, device=index.device)
    u = uniforms(keys, place.flatten(1), Stream.SPAN).view_as(logits)
    begins = best_first(logits - (-u.clamp(min=1e-300).log()).log()) | ~words.there
    return starts.scatter(1, words.first, begins & starts.gather(1, words.first))


def best_first(values: Tensor) -> Tensor:
    """Cut W words into spans, the best first: True where one begins, [B, W] boolean.

    A candidate that beats all that overlap it is taken whatever happens elsewhere, so many are taken at once; the cut
    is that of taking them one by one. Of two alike, the one that begins first is the better, then the shorter one.

    Args:
        values: [B, W, L], of the span of words w to w + l; -inf where that is no candidate.

    >>> best_first(torch.tensor([[[1.0, 5.0], [2.0, 3.0], [4.0, -torch.inf]]]))  # words 0 and 1 together, then word 2
    tensor([[ True, False,  True]])
    """
    order = values.flatten(1).argsort(dim=1, descending=True, stable=True)
    falling = torch.arange(order.shape[1], 0, -1, device=order.device).expand_as(order)
    rank = torch.zeros_like(order).scatter(1, order, falling).view_as(values)
    open, begins = rank.masked_fill(values == -torch.inf, 0), torch.zeros_like(values[..., 0], dtype=torch.bool)
    while bool(open.any()):
        taken = (open > 0) & (open == _most_within(_most_covering(open), open.shape[2]))
        begins |= taken.any(2)
        open = open.masked_fill(_most_within(_most_covering(taken.long()), open.shape[2]) > 0, 0)
    return begins


def _most_covering(values: Tensor) -> Tensor:
    """The largest of the values [B, W, L] of all spans that hold a word, [B, W]."""
    reaching = values.flip(2).cummax(2).values.flip(2)
    most = reaching[..., 0].clone()
    for distance in range(1, min(values.shape[1:])):
        torch.maximum(most[:, distance:], reaching[:, :-distance, distance], out=most[:, distance:])
    return most


def _most_within(values: Tensor, longest: int) -> Tensor:
    """The largest of the values [B, W] of the words that a span holds, [B, W, L]."""
    return neighbours(values, longest, 0).cummax(2).values


def neighbours(values: Tensor, longest: int, filling: int) -> Tensor:
    """[B, W, L]: the value [B, W] of word w + l, `filling` behind the last."""
    return torch.nn.functional.pad(values, (0, longest - 1), value=filling).unfold(1, longest, 1)
