"""Tokens of any usual tokenizer → pieces of readable text: which glue together, which are dropped."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

# Only unmistakable specials: a text may well contain "<script>" or "[1]" as ordinary tokens.
_SPECIAL = re.compile(r"\[(CLS|SEP|PAD|BOS|EOS)\]|</?s>|<(pad|cls|sep|bos|eos)>|<\|.*\|>")
_CLOSES = re.compile(r"[.,;:!?%)\]}’”]+")
_OPENS = re.compile(r"[(\[{“]+")
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


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


Reader = Callable[[Iterable[tuple[str, float]]], Iterator[Piece]]
"""Of tokens and their probabilities."""


def pieces(tokens: Sequence[str], probabilities: Sequence[float], mark: str | None = None) -> list[Piece]:
    """Tokens as readable pieces; ineligible specials such as [CLS] or </s> are left out.

    mark: what their tokenizer marks words with, see `masking.vocabulary.mark_of`; None: it is guessed from the tokens.

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
    found = list((READERS.get(mark or "") or _guessed(tokens))(kept))
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


def _guessed(tokens: Sequence[str]) -> Reader:
    """The reading of the tokenizer family that these tokens give away by their markers."""
    if any(token.startswith("##") for token in tokens):
        return _wordpiece
    if any(token.startswith("▁") for token in tokens):
        return READERS["▁"]
    if any(token.startswith(("Ġ", "Ċ")) for token in tokens):
        return READERS["Ġ"]
    return _wordpiece


def _wordpiece(tokens: Iterable[tuple[str, float]]) -> Iterator[Piece]:
    before = ""
    for token, probability in tokens:
        joined = token.startswith("##") and len(token) > 2
        text = token[2:] if joined else token
        # WordPiece forgets the spaces of the text: put them back as a printer would.
        tight = joined or bool(_CLOSES.fullmatch(text) or _OPENS.fullmatch(before))
        yield Piece(text, probability, space=not tight, joined=joined)
        before = text


def _suffixed(tokens: Iterable[tuple[str, float]]) -> Iterator[Piece]:
    """Tokens of which the last of a word says so."""

    def prefixed() -> Iterator[tuple[str, float]]:
        inside = False
        for token, probability in tokens:
            alone = math.isnan(probability)
            yield "##" * (inside and not alone) + token.removesuffix("</w>"), probability
            inside = not alone and not token.endswith("</w>")

    return _wordpiece(prefixed())


def _spaced(tokens: Iterable[tuple[str, float]], read: Callable[[str], bytes]) -> Iterator[Piece]:
    """Tokens that carry the space before them, once `read` has turned their spelling into bytes."""
    before, pending = "", False
    for decoded, probability in _whole_characters(tokens, read):
        text = decoded.strip()
        space = pending or decoded[:1].isspace()
        pending = space and not text  # a token that is only a space belongs to the next one
        if text:
            yield Piece(text, probability, space, joined=not space and _is_letter(before[-1:]) and _is_letter(text[0]))
            before = text


def _whole_characters(tokens: Iterable[tuple[str, float]], read: Callable[[str], bytes]) -> Iterator[tuple[str, float]]:
    """Tokens as text; those that are parts of one character as one, as likely as the likeliest."""
    raw, likely = b"", math.nan
    for token, probability in tokens:
        part = read(token)
        if raw and part and part[0] & 0xC0 != 0x80:  # it goes on with no character
            yield raw.decode("utf-8", errors="replace"), likely
            raw, likely = b"", math.nan
        raw += part
        likely = probability if math.isnan(likely) else max(likely, probability)
        if _is_cut(raw):
            continue
        yield raw.decode("utf-8", errors="replace"), likely
        raw, likely = b"", math.nan
    if raw:
        yield raw.decode("utf-8", errors="replace"), likely


def _is_cut(raw: bytes) -> bool:
    """Whether the last character is not there in full.

    >>> _is_cut("é".encode()), _is_cut("é".encode()[:1]), _is_cut("é".encode()[1:])
    (False, True, False)
    """
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return False


def _is_letter(character: str) -> bool:
    """Letters, digits, and the vowel signs and accents of a letter."""
    return character.isalnum() or unicodedata.category(character or " ").startswith("M")


def _from_mark(token: str) -> bytes:
    """Undo ▁ for blanks, and bytes of characters that are in no vocabulary.

    >>> _from_mark("▁we").decode(), _from_mark("<0xC3>")
    (' we', b'\\xc3')
    """
    one = _BYTE.fullmatch(token)
    return bytes([int(one[1], 16)]) if one else token.replace("▁", " ").encode()


def _from_bytes(token: str) -> bytes:
    """Undo GPT-2's spelling of bytes as printable characters.

    >>> _from_bytes("ĠcafÃ©").decode()
    ' café'
    """
    spelled = _byte_of_character()
    if not all(character in spelled for character in token):
        return token.encode()
    return bytes(spelled[character] for character in token)


def in_bytes(text: str) -> str:
    """A text as GPT-2 spells its bytes.

    >>> in_bytes(" café")
    'ĠcafÃ©'
    """
    spelling = {byte: character for character, byte in _byte_of_character().items()}
    return "".join(spelling[byte] for byte in text.encode())


def legible(token: str, mark: str | None) -> str:
    """A token by itself, whose characters stand for bytes if `mark` is Ġ; that stays, and bytes that are no character
    are numbers.

    >>> legible("ĠcafÃ©", "Ġ"), legible("Ã", "Ġ"), legible("Ċ", "Ġ"), legible("##é", "##")
    ('Ġcafé', '\\\\xc3', 'Ċ', '##é')
    """
    if mark != "Ġ":
        return token
    text = _from_bytes(token.removeprefix("Ġ")).decode("utf-8", errors="backslashreplace")
    return "Ġ" * token.startswith("Ġ") + text if text.isprintable() and " " not in text else token


@cache
def _byte_of_character() -> dict[str, int]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


READERS: dict[str, Reader] = {
    "##": _wordpiece,
    "</w>": _suffixed,
    "▁": partial(_spaced, read=_from_mark),
    "Ġ": partial(_spaced, read=_from_bytes),
}
"""By what words are marked with."""
