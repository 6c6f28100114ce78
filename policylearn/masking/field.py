"""What may be hidden of a text: the tables of one vocabulary, asked for words and units, and what is shown instead."""

import torch
from torch import Tensor, nn

from policylearn.config import MaskingConfig
from policylearn.masking.collocations import join_collocations
from policylearn.masking.corruption import corrupt
from policylearn.masking.eligibility import eligible_positions, look_up
from policylearn.masking.keys import example_keys, positions
from policylearn.masking.lengths import cut_long_units, split_long_words
from policylearn.masking.spans import drawn_span_starts
from policylearn.masking.units import Borders, borders, leads, numbered_starts, span_starts, word_borders, word_keys
from policylearn.masking.vocabulary import Vocabulary
from policylearn.protocols import Field

TABLES = ("special", "opens", "first", "last")


class TextField(nn.Module):
    """The `Field` of texts, from token ids alone: places are tokens, types those of the vocabulary.

    Args:
        vocabulary: its tables, [V] each.
        masking: which unit.
        collocations: [C] int64, sorted keys of the collocations that unit = "collocation" masks as one.
        longest: words in the longest of them.

    Raises:
        ValueError: `masking.random_token_ids` are none of the vocabulary.
    """

    def __init__(
        self, vocabulary: Vocabulary, masking: MaskingConfig, collocations: Tensor | None = None, longest: int = 0
    ) -> None:
        super().__init__()
        check_random_tokens(masking, len(vocabulary.special))
        self.masking, self.mask_id = masking, vocabulary.mask
        for name in TABLES:
            self.register_buffer(name, getattr(vocabulary, name).clone())
        before, after, self._depends = borders(vocabulary)
        self.register_buffer("before", before, persistent=False)  # they follow from the tables
        self.register_buffer("after", after, persistent=False)
        self.register_buffer(
            "collocations", torch.zeros(0, dtype=torch.int64) if collocations is None else collocations
        )
        self.register_buffer("longest", torch.tensor(longest))
        self.numbers: Tensor | None = None

    numbers: Tensor | None
    """[B, T], the word that each token of one batch is in, where its examples say so; None: the vocabulary says it."""
    special: Tensor
    opens: Tensor
    first: Tensor
    last: Tensor
    before: Tensor
    after: Tensor
    collocations: Tensor
    longest: Tensor

    @property
    def size(self) -> int:
        """V."""
        return len(self.special)

    @property
    def vocabulary(self) -> Vocabulary:
        """The tables."""
        return Vocabulary(self.special, self.opens, self.first, self.last, self.mask_id)

    def types(self, ids: Tensor) -> Tensor:
        """The type of every place, [B, T]: a token's is its id."""
        return ids

    def keys(self, ids: Tensor, real: Tensor, seed: int, epoch: int | Tensor) -> Tensor:
        """Of `example_keys`, [B]."""
        return example_keys(ids, real, seed, epoch)

    def eligible(self, ids: Tensor, real: Tensor) -> Tensor:
        """Positions that may be masked, boolean [B, T]."""
        return eligible_positions(ids, real, self.special)

    def words(self, ids: Tensor, real: Tensor) -> Tensor:
        """Lead of the word each position belongs to, [B, T]."""
        return leads(self.word_starts(ids, real))

    def word_starts(self, ids: Tensor, real: Tensor) -> Tensor:
        """True where a word begins, [B, T]."""
        if self.numbers is not None:
            return numbered_starts(self.numbers, real, look_up(self.special, ids))
        return word_borders(ids, real, Borders(self.before, self.after, self._depends))

    def units(
        self,
        ids: Tensor,
        real: Tensor,
        keys: Tensor | None = None,
        ends: Tensor | None = None,
        rate: float | Tensor | None = None,
    ) -> Tensor | None:
        """Lead of the unit each position belongs to, [B, T]; None where every token is a unit.

        Args:
            ids: [B, T].
            real: [B, T] boolean, not padding.
            keys: [B] of `example_keys`, by which spans are cut; None: one fixed cut of each text.
            ends: [B, T, 2 or more], start and end logits that spans are to follow, see `masking.spans`; None: they
                follow nothing.
            rate: the masking rate, on which depends how long a unit may be, see `masking.lengths`; None: the
                usual one.
        """
        if self.masking.unit == "token":
            return None
        eligible = self.eligible(ids, real)
        rate = self.masking.usual_rate if rate is None else rate
        words = split_long_words(self.word_starts(ids, real), eligible, rate)
        starts = words
        if self.masking.unit == "span":
            keys = example_keys(ids, real, seed=0) if keys is None else keys
            starts = self._span_starts(words, eligible, keys, positions(real), ends)
        elif self.masking.unit == "collocation":
            known = word_keys(ids, leads(words))
            starts = join_collocations(words, known, eligible, self.collocations, int(self.longest))
        return leads(cut_long_units(starts, words, eligible, rate))

    def _span_starts(self, words: Tensor, eligible: Tensor, keys: Tensor, index: Tensor, ends: Tensor | None) -> Tensor:
        cut = self.masking.span_mean, self.masking.span_longest
        if ends is None:
            return span_starts(words, eligible, keys, index, *cut)
        return drawn_span_starts(ends, words, eligible, keys, index, *cut)

    def hide(self, ids: Tensor, mask: Tensor, keys: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """(what is shown, labels), [B, T] each, of `corrupt`.

        Raises:
            ValueError: the tokenizer has no mask token.
        """
        if self.mask_id is None:
            raise ValueError("the tokenizer has no mask token to show for what is masked: give it one")
        shares = self.masking.mask_share, self.masking.random_share
        return corrupt(ids, mask, keys, index, self.mask_id, self.size, *shares, self._choices(ids))

    def _choices(self, ids: Tensor) -> Tensor | None:
        if (given := self.masking.random_token_ids) is None:
            return None
        return torch.tensor(given).to(ids)


def check_random_tokens(masking: MaskingConfig, size: int) -> None:
    """Raises ValueError if random tokens are to be drawn of which a vocabulary of so many ids has one not."""
    if (given := masking.random_token_ids) is not None and max(given) >= size:
        raise ValueError(
            f"masking.random_token_ids has {max(given)}, but ids end at {size - 1}: name ids of this tokenizer"
        )


def text_field(field: Field) -> TextField:
    """A field, known to be of texts. ValueError: it is not."""
    if not isinstance(field, TextField):
        raise ValueError("this needs a policy over texts, and the one given is over pictures: give it to PatchCollator")
    return field
