"""Tokens of any usual tokenizer → pieces of readable text: which glue together, which are dropped."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

# Only unmistakable specials: a text may well contain "<script>" or "[1]" as ordinary tokens.
_SPECIAL = re.compile(r"\[(CLS|SEP|PAD|BOS|EOS)\]|</?s>|<(pad|cls|sep|bos|eos)>|<\|.*\|>")
_CLOSES = re.compile(r"[.,;:!?%)\]}’”]+")
_OPENS = re.compile(r"[(\[{“]+")


@dataclass(frozen=True)
class Piece:
    """One token as it is shown.

    text: without the tokenizer's markers. probability: of being masked, NaN if ineligible.
    space: whether a space comes before it. joined: whether it continues the word of the piece before it.
    """

    text: str
    probability: float
    space: bool
    joined: bool

    @property
    def eligible(self) -> bool:
        return not math.isnan(self.probability)


def pieces(tokens: Sequence[str], probabilities: Sequence[float]) -> list[Piece]:
    """Tokens as readable pieces; ineligible specials such as [CLS] or </s> are left out.

    >>> shown = pieces(["[CLS]", "token", "##izer", ",", "fast"], [float("nan"), 0.1, 0.1, 0, 0.2])
    >>> "".join(" " * p.space + p.text for p in shown)
    'tokenizer, fast'
    >>> [p.joined for p in shown]
    [False, True, False, False]
    """
    kept = [
        (token, probability)
        for token, probability in zip(tokens, probabilities, strict=True)
        if not (math.isnan(probability) and _SPECIAL.fullmatch(token))
    ]
    found = list(_reader(tokens)(kept))
    return [replace(found[0], space=False, joined=False), *found[1:]] if found else []


def words(shown: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces grouped into words.

    >>> shown = pieces(["token", "##izer", ",", "fast"], [0.1, 0.1, 0, 0.2])
    >>> [[p.text for p in word] for word in words(shown)]
    [['token', 'izer'], [','], ['fast']]
    """
    groups: list[list[Piece]] = []
    for piece in shown:
        if piece.joined and groups:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return groups


def _reader(tokens: Sequence[str]) -> Callable[[Sequence[tuple[str, float]]], Iterator[Piece]]:
    """The reading of the tokenizer family that these tokens give away by their markers."""
    if any(token.startswith("##") for token in tokens):
        return _wordpiece
    if any(token.startswith("▁") for token in tokens):
        return partial(_spaced, read=lambda token: token.replace("▁", " "))
    if any(token.startswith(("Ġ", "Ċ")) for token in tokens):
        return partial(_spaced, read=_from_bytes)
    return _wordpiece


def _wordpiece(tokens: Sequence[tuple[str, float]]) -> Iterator[Piece]:
    before = ""
    for token, probability in tokens:
        joined = token.startswith("##") and len(token) > 2
        text = token[2:] if joined else token
        # WordPiece forgets the spaces of the text: put them back as a printer would.
        tight = joined or bool(_CLOSES.fullmatch(text) or _OPENS.fullmatch(before))
        yield Piece(text, probability, space=not tight, joined=joined)
        before = text


def _spaced(tokens: Sequence[tuple[str, float]], read: Callable[[str], str]) -> Iterator[Piece]:
    """Tokens that carry the space before them, once `read` has turned their spelling into text."""
    before, pending = "", False
    for token, probability in tokens:
        decoded = read(token)
        text = decoded.strip()
        space = pending or decoded[:1].isspace()
        pending = space and not text  # a token that is only a space belongs to the next one
        if text:
            yield Piece(text, probability, space, joined=not space and (before[-1:] + text[0]).isalnum())
            before = text


def _from_bytes(token: str) -> str:
    """Undo GPT-2's spelling of bytes as printable characters.

    >>> _from_bytes("ĠcafÃ©")
    ' café'
    """
    spelled = _byte_of_character()
    if not all(character in spelled for character in token):
        return token
    return bytes(spelled[character] for character in token).decode("utf-8", errors="replace")


@cache
def _byte_of_character() -> dict[str, int]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
