"""Tasks of pairs of texts: which columns hold them, and which tokens of a row are of the second text.

A tokenizer makes one row of a pair, with its separators between. Some models (BERT, ALBERT, DeBERTa) are also told by
token types which text a token is of. A row says it itself: what stands behind its first separator is the second text.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.config import TaskConfig
from policylearn.data.formats import Record
from policylearn.data.tokens import TokenRows

USUAL, SECOND = "text", "text_pair"
"""Columns that need not be named."""


def text_columns(config: TaskConfig, head: Sequence[Record]) -> tuple[str, ...]:
    """The column of the text, or two of a pair: those of `task.text`, or (if it is not set) `text` and, where the first
    row of train has it, `text_pair`.

    >>> text_columns(TaskConfig(path="x"), [{"text": "a", "text_pair": "b", "label": 1}])
    ('text', 'text_pair')
    """
    if not isinstance(config.text, str):
        return tuple(config.text)
    pairs = config.text == USUAL and config.label != SECOND and any({USUAL, SECOND} <= row.keys() for row in head[:1])
    return (USUAL, SECOND) if pairs else (config.text,)


def second_text(input_ids: Tensor, real: Tensor, separator: int) -> Tensor:
    """Token types [B, T] int64: 1 behind the first separator of a row, 0 in padding, see `real` [B, T] (or [B, T, T],
    which tokens each may look at).

    >>> second_text(
    ...     torch.tensor([[2, 7, 3, 8, 9, 3], [2, 7, 3, 0, 0, 0]]),
    ...     torch.tensor([6 * [True], 3 * [True] + 3 * [False]]),
    ...     3,
    ... )
    tensor([[0, 0, 0, 1, 1, 1],
            [0, 0, 0, 0, 0, 0]])
    """
    found = (input_ids == separator).long()
    tokens = real if real.ndim == 2 else real.diagonal(dim1=1, dim2=2)
    return ((found.cumsum(1) > found) & tokens).long()


def separator_of(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token behind which token types are 1; None where a tokenizer gives none.

    Raises:
        ValueError: its types are others.
    """
    encoded = tokenizer("a", "b")
    types = encoded.get("token_type_ids", [])
    if 1 not in types:
        return None
    ids, separator = torch.tensor([encoded["input_ids"]]), tokenizer.sep_token_id
    if separator is None or second_text(ids, torch.ones_like(ids, dtype=torch.bool), separator)[0].tolist() != types:
        raise ValueError(
            f"the tokenizer gives the tokens of a pair the types {types}, which are not 0 up to a separator and 1 "
            "behind it: take another tokenizer, or the first text alone, as in task.text=[text]"
        )
    return separator


def check_separators(rows: TokenRows, tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    """See that no pair holds a separator of its own, which would begin the second text too early.

    Raises:
        ValueError: one does; with its row.
    """
    if (separator := separator_of(tokenizer)) is None:
        return
    for row in range(len(rows)):
        if (rows[row] == separator).sum() > 2:
            raise ValueError(
                f"{where}, row {row}: a text of the pair holds {tokenizer.sep_token!r}, which is to stand between the "
                "two: take it out of the text"
            )
