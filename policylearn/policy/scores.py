"""Scores as a scorer returns them, and as a policy looks them up."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policylearn.config.scores import RANK, scorer_of
from policylearn.masking.eligibility import flat_positions, look_up
from policylearn.masking.units import sizes, word_keys

__all__ = ["RANK", "ScoreTable", "Scores", "rank_weights", "scorer_of"]


@dataclass(frozen=True)
class Scores:
    """Scores of token types, and of whole words where the scorer knows words.

    A token's score is that of its word, given to every piece of it; where the word has none, that of its own type.

    Attributes:
        types: [V] float, finite.
        words: [W] float over the words of the lexicon (`Sources.lexicon`), NaN where not known; None: types only.
        learned_from: in words, which labels of the task they owe themselves to; empty: to none.
    """

    types: Tensor
    words: Tensor | None = None
    learned_from: str = ""

    def finite(self) -> bool:
        """No infinity, and no NaN but for words that are not known."""
        known = bool(torch.isfinite(self.types).all())
        return known and (self.words is None or not bool(torch.isinf(self.words).any()))


class ScoreTable(nn.Module):
    """The scores of H scorers, looked up for a batch of texts.

    Args:
        scores: of each scorer.
        lexicon: [W] int64, sorted `word_keys` of the words that have scores of their own.
        size: V.
    """

    def __init__(self, scores: Sequence[Scores], lexicon: Tensor, size: int) -> None:
        super().__init__()
        known = lexicon if any(s.words is not None for s in scores) else lexicon[:0]
        unknown = torch.full((len(known),), torch.nan)
        types = [s.types.float() for s in scores]
        words = [unknown if s.words is None else s.words.float() for s in scores]
        self.register_buffer("types", torch.stack(types) if types else torch.zeros(0, size))
        self.register_buffer("words", torch.stack(words) if words else torch.zeros(0, len(known)))
        self.register_buffer("lexicon", known.clone())
        # Most words are one piece: their rows are known by token id, without a search.
        column = torch.arange(size)[:, None]
        alone = word_keys(column, torch.zeros_like(column))[:, 0]
        self.register_buffer("rows", self._search(alone), persistent=False)

    types: Tensor
    words: Tensor
    lexicon: Tensor
    rows: Tensor

    def _search(self, keys: Tensor) -> Tensor:
        """Row in the lexicon of every key [N], -1 where it has none; [N]."""
        if not len(self.lexicon):
            return torch.full_like(keys, -1)
        row = torch.searchsorted(self.lexicon, keys).clamp(max=len(self.lexicon) - 1)
        return torch.where(look_up(self.lexicon, row) == keys, row, -1)

    def forward(self, types: Tensor, lead: Tensor | None) -> Tensor:
        """[H, B, T] scores of types [B, T]; `lead` [B, T] of words is only needed where words have scores."""
        scores = look_up(self.types, types)
        if not len(self.lexicon):
            return scores
        assert lead is not None
        longer = flat_positions(sizes(lead) > 1)
        found = self._search(word_keys(types, lead).flatten().index_select(0, longer))
        rows = look_up(self.rows, types).flatten().index_copy(0, longer, found).view_as(lead).gather(1, lead)
        words = look_up(self.words, rows.clamp(min=0))
        return torch.where((rows < 0) | words.isnan(), scores, words)


def rank_weights(scores: Tensor, eligible: Tensor, lead: Tensor) -> Tensor:
    """log((N - rank) / N) of every token, rank 0 for the word of highest score among the N words of a text; [B, T].

    The weights the released code of Difference-Masking draws with; words of equal score share the better rank.

    Args:
        scores: [B, T], the same for all tokens of a word.
        eligible: [B, T] boolean.
        lead: [B, T] of words.

    >>> scores, lead = torch.tensor([[0.9, 0.1, 0.5, 0.5]]), torch.tensor([[0, 1, 2, 2]])
    >>> rank_weights(scores, lead >= 0, lead).exp()
    tensor([[1.0000, 0.3333, 0.6667, 0.6667]])
    """
    counted = eligible & (sizes(lead) > 0)
    n = counted.sum(1, keepdim=True).clamp(min=1)
    ascending = torch.where(counted, scores, -torch.inf).sort(1).values.contiguous()
    better = scores.shape[1] - torch.searchsorted(ascending, scores.contiguous(), right=True)
    return ((n - better).clamp(min=1) / n).log()
