"""What masking knows of a vocabulary: tables over token ids, built once from the tokenizer."""

import json
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from policylearn.masking.eligibility import special_table

SAME, ANY, LETTER, NUMBER, OTHER, SPACE, CLOSED = range(-1, 6)
"""Classes of characters, and three that are none: ANY goes with every other; `last` may be SAME, of the class of what
stands before, or CLOSED, which nothing goes with."""
CONTRACTIONS = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}
BYTES = {character: byte for byte, character in bytes_to_unicode().items()}

BLANK = "Ġ"
"""A blank, of ByteLevel."""

SAMPLE = "a1 b-c 学 é\t\u0301🙂 #[MASK]"
"""Some faults of a tokenizer only show when it is used."""

Piece = tuple[bool, int, int]
"""What the tables say of one piece: (opens, first, last)."""
ALONE: Piece = (True, LETTER, CLOSED)


@dataclass(frozen=True)
class Vocabulary:
    """Tables over V token ids.

    Attributes:
        special: [V] boolean, never masked.
        opens: [V] boolean, begins a word wherever it stands.
        first, last: [V] int8, class of the character a piece begins and ends with; where two neighbours differ and
            neither is 0 (any class), a word begins. The `last` of a piece may be -1, as the piece before it. All
            the same for families that mark every word, but for pieces that nothing is joined to.
        mask: id of [MASK]; None: there is none.
        lone: id of the mark of a word's beginning alone, such as `▁`; None: there is none.
    """

    special: Tensor
    opens: Tensor
    first: Tensor
    last: Tensor
    mask: int | None = None
    lone: int | None = None

    @property
    def known(self) -> Tensor:
        """Types that say something of a text, [V] boolean: those that are not special, without the mark of a word's
        beginning alone. Metaspace puts it before every word, and before one that is not known it is a token."""
        known = ~self.special
        if self.lone is not None:
            known[self.lone] = False
        return known


def vocabulary(tokenizer: PreTrainedTokenizerBase, words: bool = True) -> Vocabulary:
    """The tables of a fast tokenizer, from what its backend says of itself (never from the name of a model).

    ============================================  =================================================================
    backend                                       a word begins at
    ============================================  =================================================================
    WordLevel                                     every token
    WordPiece; BPE with a continuation prefix     a piece without the prefix (`##`)
    BPE with an end-of-word suffix                a piece after one that ends with the suffix (`</w>`)
    Metaspace, or a normaliser ␣ → ▁              a piece that begins with `▁`
    ByteLevel with its regular expression         white space, `Ġ` included; a change between letters, numbers and
                                                  other characters; before and after 's 't 're 've 'm 'll 'd
    ============================================  =================================================================

    Added tokens are words of their own. A byte-level piece may hold only a part of a character: one that begins
    inside a character never begins a word, and a character cut into pieces has the class that most characters with
    the same first bytes have (C3: letters, E4: letters, F0 9F: other).

    Words are those of the tokenizer's own `word_ids()` but for these: an unknown token is a word of its own, as
    every special token is (`word_ids()` joins it to its neighbours under Unigram); where `▁` is put in without
    splitting, `word_ids()` knows no words at all; and byte-level words differ inside runs of white space, after a
    character in pieces that is not of the usual class, and in contractions that the vocabulary has no piece for.

    Args:
        tokenizer: a fast tokenizer of V types.
        words: False takes every token for a word of its own, of any tokenizer.

    Raises:
        ValueError: the tokenizer is not a fast one, or leaves no mark of words in its pieces.

    >>> from tokenizers import Tokenizer, models
    >>> from transformers import PreTrainedTokenizerFast
    >>> wordpiece = models.WordPiece({"[UNK]": 0, "un": 1, "##mask": 2, "##ed": 3}, unk_token="[UNK]")
    >>> tables = vocabulary(PreTrainedTokenizerFast(tokenizer_object=Tokenizer(wordpiece), unk_token="[UNK]"))
    >>> tables.opens, tables.special
    (tensor([ True,  True, False, False]), tensor([ True, False, False, False]))
    """
    read = _reader(tokenizer) if words and tokenizer.is_fast else None
    if words and read is None:
        raise ValueError(
            f"cannot tell where words begin: {_description(tokenizer)} leaves no mark of words that is known here; "
            'mask with unit="token", which works with any tokenizer'
        )
    ids = tokenizer.get_vocab()
    size = ids_of(tokenizer)
    rows = [ALONE] * size
    for piece, i in ids.items():
        rows[i] = ALONE if read is None or i in tokenizer.added_tokens_decoder else read(piece)
    opens, first, last = zip(*rows, strict=True)
    special = special_table(special_ids(tokenizer), size)
    begin, end = (torch.tensor(column, dtype=torch.int8) for column in (first, last))
    lone = lone_mark(tokenizer) if tokenizer.is_fast else None
    return Vocabulary(special, torch.tensor(opens), begin, end, tokenizer.mask_token_id, lone)


def ids_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """V, one more than the highest token id: how many embeddings a model needs. Some numbers below may be nobody's."""
    return max([len(tokenizer), *(i + 1 for i in tokenizer.get_vocab().values())])


def special_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that are no text: tokens with a role, tokens that were added as special, and whatever the tokenizer itself
    puts about a text, though it be named nowhere."""
    added = [i for i, token in tokenizer.added_tokens_decoder.items() if token.special]
    return sorted({*tokenizer.all_special_ids, *added, *tokenizer("")["input_ids"]})


def is_table_of(tokenizer: PreTrainedTokenizerBase, special: Tensor) -> bool:
    """Whether `special` [V] is what a tokenizer calls special, or its tokens with a role: all that policies once knew
    of."""
    size = ids_of(tokenizer)
    tables = (special_table(ids, size) for ids in (special_ids(tokenizer), tokenizer.all_special_ids))
    return any(torch.equal(table, special) for table in tables)


def lone_mark(tokenizer: PreTrainedTokenizerBase, of_bytes: bool = False) -> int | None:
    """The token that is the mark of a word's beginning alone: `▁` of Metaspace; with `of_bytes` also `Ġ` of ByteLevel,
    which is a blank in a text as well. None: there is none."""
    _, mark = _marks(tokenizer)
    return None if mark is None or (mark == BLANK and not of_bytes) else tokenizer.get_vocab().get(mark)


def mark_of(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """By what pieces of a fast tokenizer say what is a word, such as `##`, `</w>`, `▁` or `Ġ`; None: by nothing
    that is known here."""
    model, mark = _marks(tokenizer)
    return model.get("continuing_subword_prefix") or model.get("end_of_word_suffix") or mark


def _marks(tokenizer: PreTrainedTokenizerBase) -> tuple[dict, str | None]:
    """The model of a backend, and what stands for a blank in its pieces."""
    backend = _without_words(tokenizer)
    steps = _steps(backend["pre_tokenizer"], "pretokenizers")
    of_bytes = any(step["type"] == "ByteLevel" for step in steps)
    return backend["model"], _space_mark(backend["normalizer"], steps) or (BLANK if of_bytes else None)


def check_mask(tokenizer: PreTrainedTokenizerBase, called: str) -> None:
    """Refuse a tokenizer that masks with its padding token: a model would take the one for the other, and one that
    counts positions where there is no padding would count no masked token.

    Args:
        tokenizer: one that may lack either token.
        called: what to call it in the message.

    Raises:
        ValueError: saying so.
    """
    if tokenizer.mask_token_id is not None and tokenizer.mask_token_id == tokenizer.pad_token_id:
        raise ValueError(
            f"{called} has one token, {tokenizer.mask_token!r}, for masking and padding, which a model would confuse: "
            "set its pad_token to another, such as that which the model was trained with"
        )


def marks_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether `vocabulary` can tell where words begin."""
    return tokenizer.is_fast and _reader(tokenizer) is not None


def _description(tokenizer: PreTrainedTokenizerBase) -> str:
    """What kind of tokenizer it is, for those who wonder why it is not understood."""
    if not tokenizer.is_fast:
        return f"{type(tokenizer).__name__}, which is not a fast tokenizer,"
    backend = _without_words(tokenizer)
    steps = _steps(backend["pre_tokenizer"], "pretokenizers")
    found = " + ".join(step["type"] for step in steps) or "none"
    return f"the tokenizer, a {backend['model']['type']} with pre-tokenizer {found},"


def _reader(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], Piece] | None:
    """The function that reads the pieces of this kind of tokenizer; None for a kind that is not known."""
    backend = _without_words(tokenizer)
    model, steps = backend["model"], _steps(backend["pre_tokenizer"], "pretokenizers")
    if model["type"] == "WordLevel":
        return lambda piece: ALONE
    if prefix := model.get("continuing_subword_prefix"):
        return lambda piece: (not piece.startswith(prefix), LETTER, LETTER)
    if suffix := model.get("end_of_word_suffix"):
        return lambda piece: (False, LETTER, CLOSED if piece.endswith(suffix) else LETTER)
    if mark := _space_mark(backend["normalizer"], steps):
        return lambda piece: (piece.startswith(mark), LETTER, LETTER)
    return _read_bytes if _is_byte_level(steps) else None


def _without_words(tokenizer: PreTrainedTokenizerBase) -> dict:
    """What a backend says of its normaliser, pre-tokenizer and model, without the vocabulary: a large one takes a
    second to write down."""
    backend, bare = tokenizer.backend_tokenizer, Tokenizer(models.WordLevel())
    bare.normalizer, bare.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
    affixes = ("continuing_subword_prefix", "end_of_word_suffix")
    model = {name: getattr(backend.model, name, None) for name in affixes}
    return json.loads(bare.to_str()) | {"model": model | {"type": type(backend.model).__name__}}


def _steps(component: dict | None, members: str) -> list[dict]:
    """A normaliser or pre-tokenizer as a flat list of steps."""
    if component is None:
        return []
    if component["type"] != "Sequence":
        return [component]
    return [step for member in component[members] for step in _steps(member, members)]


def _space_mark(normalizer: dict | None, steps: list[dict]) -> str | None:
    """The character that stands for a space in pieces, if every word but a text's first is sure to have it."""
    if steps and steps[-1]["type"] == "Metaspace":
        # What earlier steps split off gets a mark only if Metaspace puts one before everything it is handed.
        marked = len(steps) == 1 or steps[-1].get("prepend_scheme") == "always"
        return steps[-1]["replacement"] if marked else None
    replaced = [
        step["content"]
        for step in _steps(normalizer, "normalizers")
        if step["type"] == "Replace" and step["pattern"] == {"String": " "}
    ]
    # Without spaces left in the text a split at spaces does nothing.
    idle = all(step["type"] == "Split" and step["pattern"] == {"String": " "} for step in steps)
    return replaced[-1] if replaced and idle else None


def _is_byte_level(steps: list[dict]) -> bool:
    """Whether words are those of ByteLevel's regular expression, which only it splits at."""
    if not steps or steps[-1]["type"] != "ByteLevel" or not steps[-1]["use_regex"]:
        return False
    return len(steps) == 1 or bool(steps[-1]["add_prefix_space"])


def _read_bytes(piece: str) -> Piece:
    """A piece of byte-level BPE.

    >>> _read_bytes("Ġmask"), _read_bytes("'s"), _read_bytes("12")
    ((True, 4, 1), (False, 3, 5), (False, 2, 2))
    """
    if not set(piece) <= BYTES.keys():
        return ALONE
    raw = bytes(BYTES[character] for character in piece)
    if piece in CONTRACTIONS:
        return False, OTHER, CLOSED
    if piece == "Ġ":  # a space alone belongs to what follows, unless that is white space itself
        return True, SPACE, ANY
    leads = [i for i, byte in enumerate(raw) if byte & 0xC0 != 0x80]
    first = ANY if not leads or leads[0] > 0 else _class_of_first(raw)
    last = _class_of_first(raw[leads[-1] :]) if leads else SAME
    return first == SPACE, first, last


def _class_of_first(raw: bytes) -> int:
    """Class of the character that the bytes begin with; a guess if they do not hold all of it."""
    length = 1 if raw[0] < 0xC0 else 2 if raw[0] < 0xE0 else 3 if raw[0] < 0xF0 else 4
    return _usual_class(raw[:length], length)


@cache
def _usual_class(start: bytes, length: int) -> int:
    """Class of most characters of `length` bytes in UTF-8 that begin with `start`.

    >>> [_usual_class(start, n) for start, n in [(b"a", 1), (b"7", 1), (b"\\xc3", 2), (b"\\xf0\\x9f", 4)]]
    [1, 2, 1, 3]
    """
    spare = 6 * (length - len(start))
    head = start[0] & (0x7F >> length if length > 1 else 0x7F)
    for byte in start[1:]:
        head = head << 6 | byte & 0x3F
    points = range(head << spare, min((head + 1) << spare, 0x110000), 1 + (1 << spare) // 4096)  # a sample will do
    characters = [c for c in map(chr, points) if unicodedata.category(c) not in {"Cn", "Co", "Cs"}]
    classes = Counter(map(_character_class, characters))
    return classes.most_common(1)[0][0] if classes else OTHER


def _character_class(character: str) -> int:
    """The four classes of the GPT-2 regular expression: \\p{L}, \\p{N}, \\s and the rest."""
    if character.isspace():
        return SPACE
    return {"L": LETTER, "N": NUMBER}.get(unicodedata.category(character)[0], OTHER)
