"""What is odd about rows of token ids, in a line each: nothing of it is wrong, and all of it is worth knowing."""

from collections import Counter
from itertools import pairwise

import numpy as np
from transformers import PreTrainedTokenizerBase

from policylearn.data.questions import Questions
from policylearn.data.tokens import TokenRows

ROLES = ("mask", "sep", "cls", "bos", "eos", "pad")
"""Tokens that mean something to a model; that of unknown words stands for text."""


def cut_line(split: str, rows: TokenRows, lost: int, length: int) -> str | None:
    """How many rows of a split are longer than `length` tokens and cut, and words lose their tags."""
    losing = f"{lost:,} words lose their tags" if lost else ""
    if not rows.cut:
        return f"{losing} in {split}: the tokenizer makes no token of them" if lost else None
    longer = f"{rows.cut:,} of {len(rows):,} {split} rows"
    return f"{longer} are longer than {length} tokens and cut: model.max_length{f'; {losing}' if lost else ''}"


def answer_lines(split: str, questions: Questions, length: int) -> list[str]:
    """How many answers and choices of a split are longer than `length` tokens and cut, how many questions have
    choices that a model cannot tell apart, and how many accept an answer that is blank."""
    lines = [
        f"{rows.cut:,} of {len(rows):,} {split} {what} are longer than {length} tokens and cut: task.answer_length"
        for what, rows in questions.told.items()
        if rows.cut
    ]
    spans = pairwise(questions.first.tolist())
    alike = sum(len({questions.choices[i].tobytes() for i in range(*span)}) < span[1] - span[0] for span in spans)
    if alike:
        of = f"{alike:,} of {len(questions):,} {split} questions have choices of the same tokens"
        lines.append(f"{of}, the first of which is taken: mend them, or raise task.answer_length")
    if blank := sum(not all(map(str.strip, accepted)) for accepted in questions.accepted):
        of = f"{blank:,} of {len(questions):,} {split} questions accept a blank answer"
        lines.append(f"{of}, and none that is written counts as it: take it out of them")
    return lines


def marks_line(rows: TokenRows, tokenizer: PreTrainedTokenizerBase, pairs: bool = False) -> str | None:
    """How many rows have a token such as [MASK] or </s> written in their text, which a tokenizer reads as the token
    itself: what follows a </s> is another text to a model, and it fills in a [MASK] that nobody asks about.

    Args:
        rows: of texts.
        tokenizer: that made them.
        pairs: whether they are of two texts each.
    """
    ids = {i for role in ROLES if (i := getattr(tokenizer, f"{role}_token_id")) is not None}
    own = Counter(i for i in tokenizer(*["a", "b"][: 1 + pairs])["input_ids"] if i in ids)
    table = np.isin(np.arange(1 + max(int(rows.flat.max(initial=0)), *ids, 0)), list(ids))
    if not len(found := rows.holding(table, own.total())):
        return None
    written = Counter(i for i in rows[found[0]].tolist() if i in ids) - own
    names = " and ".join(tokenizer.convert_ids_to_tokens(sorted(written)))
    return f"{len(found):,} of {len(rows):,} have {names} written in them, which the tokenizer takes for its own"
