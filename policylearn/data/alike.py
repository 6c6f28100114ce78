"""Rows that say the same: data sets repeat sentences with another span marked, pictures under another name."""

import numpy as np
from transformers import PreTrainedTokenizerBase

from policylearn.data.pictures import PatchRows
from policylearn.data.tokens import CHUNK, TokenRows
from policylearn.masking.vocabulary import ids_of

FEW = 64
"""Token types of which none is a word: letters, residues, codons."""


def same_words(rows: TokenRows, solid: np.ndarray) -> np.ndarray:
    """For every row the first row that consists of the same `solid` token types, in any order; or in the same order, if
    these are as `FEW` as letters, or a row has more tokens than there are types in all of them: of nucleotides most
    rows have all types, and of residues many peptides the same.

    >>> rows = TokenRows(np.array([5, 6, 9, 6, 5, 7, 8]), np.array([0, 2, 5, 7]))
    >>> same_words(rows, np.arange(200) != 9)
    array([0, 0, 2])
    """
    longest, rng = int(np.diff(rows.offsets).max(initial=0)), np.random.default_rng(0)
    types = rng.integers(2**64, size=len(solid), dtype=np.uint64)
    in_order = np.count_nonzero(solid) <= FEW or np.count_nonzero(solid[np.unique(rows.flat)]) < longest
    places = rng.integers(2**64, size=longest, dtype=np.uint64) if in_order else None
    sums = [_sums_of_solid(rows, first, solid, types, places) for first in range(0, len(rows), CHUNK)]
    _, at, which = np.unique(np.concatenate([np.zeros(0, np.uint64), *sums]), return_index=True, return_inverse=True)
    return at[which]


def _sums_of_solid(
    rows: TokenRows, first: int, solid: np.ndarray, numbers: np.ndarray, places: np.ndarray | None
) -> np.ndarray:
    """Of a chunk of rows the sum of a random number of 64 bits for every type they hold (or, given `places`, for every
    token, times one for its place among the solid ones), [rows] uint64: of the same types the same, and of others not,
    but for three chances in a million among ten million rows."""
    offsets = rows.offsets[first : first + CHUNK + 1]
    ids = rows.flat[offsets[0] : offsets[-1]].astype(np.int64)
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[solid[ids]]
    sums = np.zeros(len(offsets) - 1, np.uint64)
    if places is None:
        owner, types = np.divmod(np.unique(owner * len(solid) + ids[solid[ids]]), len(solid))
        np.add.at(sums, owner, numbers[types])
    else:
        place = np.arange(len(owner)) - np.searchsorted(owner, owner)
        np.add.at(sums, owner, numbers[ids[solid[ids]]] * places[place])
    return sums


def shared(rows: TokenRows, corpus: TokenRows) -> int:
    """How many of the rows stand in the corpus as well, token by token.

    >>> shared(TokenRows(np.array([5, 6, 7]), np.array([0, 2, 3])), TokenRows(np.array([7, 6, 5]), np.array([0, 1, 3])))
    1
    """
    wanted = np.concatenate([_sketches(rows, first) for first in range(0, len(rows), CHUNK)])
    found = [
        first + np.flatnonzero(np.isin(_sketches(corpus, first), wanted)) for first in range(0, len(corpus), CHUNK)
    ]
    known = {tuple(corpus[row].tolist()) for row in np.concatenate(found)}
    return sum(tuple(rows[row].tolist()) in known for row in range(len(rows)))


def _sketches(rows: TokenRows, first: int) -> np.ndarray:
    """Of a chunk of rows a number made of length and three of the tokens, [rows] uint64: the same for the same rows."""
    offsets = rows.offsets[first : first + CHUNK + 1]
    lengths = np.diff(offsets)
    sketches = lengths.astype(np.uint64)
    for quarter in (1, 2, 3):
        at = np.minimum(offsets[:-1] + lengths * quarter // 4, len(rows.flat) - 1)
        sketches = sketches * np.uint64(1_000_003) + rows.flat[at].astype(np.uint64)
    return sketches


def same_pixels(rows: PatchRows) -> np.ndarray:
    """For every picture the first of the same pixels."""
    first: dict[bytes, int] = {}
    found = [first.setdefault(picture.tobytes(), i) for i, picture in enumerate(rows.pixels)]
    return np.array(found, dtype=np.int64)


def shared_pixels(rows: PatchRows, corpus: PatchRows) -> int:
    """How many of the pictures are among those of the corpus, pixel by pixel."""
    known = {picture.tobytes() for picture in corpus.pixels}
    return sum(picture.tobytes() in known for picture in rows.pixels)


def solid_types(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Token types that hold a letter or digit and are not special, [V] boolean; of one that is bytes it is what these
    say, or a part of a character."""
    special = set(tokenizer.all_special_ids)
    pieces = tokenizer.convert_ids_to_tokens(list(range(ids_of(tokenizer))))

    def is_solid(number: int, piece: str | None) -> bool:
        if piece is None or number in special:
            return False
        said = piece if piece.isascii() else tokenizer.convert_tokens_to_string([piece])  # letters may stand for bytes
        return "\ufffd" in said or any(c.isalnum() for c in said)

    return np.array([is_solid(*entry) for entry in enumerate(pieces)])
