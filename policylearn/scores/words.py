"""Which entries of a vocabulary are words, as far as the vocabulary alone can tell."""

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

MIN_LETTERS = 2
_WORD_STARTS = ("Ġ", "▁")
_CONTINUATION = "##"


def word_like(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """True for types that begin a word and hold at least two letters, boolean [V].

    A vocabulary that marks word starts (byte-level BPE, SentencePiece) needs the mark; one that marks
    continuations (WordPiece) must lack it; a word-level vocabulary has neither.
    """
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    marks_starts = sum(token.startswith(_WORD_STARTS) for token in tokens) > len(tokens) / 10
    return torch.tensor([_is_word(token, marks_starts) for token in tokens])


def _is_word(token: str, marks_starts: bool) -> bool:
    begins = token.startswith(_WORD_STARTS) if marks_starts else not token.startswith(_CONTINUATION)
    # The mark of byte-level BPE is a letter itself.
    return begins and sum(c.isalpha() for c in token.lstrip("".join(_WORD_STARTS))) >= MIN_LETTERS
