"""What counts as a text: a string, and in it no half of a surrogate pair, which no tokenizer takes."""

import os
import re
import warnings
from typing import Any

from policylearn.messages.quote import quote

HALF = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def text_of(value: Any, source: str, place: str, advice: str) -> str:
    """A value as a text, U+FFFD in place of every half of a surrogate pair; a warning says once that a source has some.

    Args:
        value: what ought to be a text.
        source, place: where it was found, for messages.
        advice: what to do if it is none.

    Raises:
        ValueError: it is no string.

    >>> text_of("aspirin helps", "corpus", "item 0", "give strings")
    'aspirin helps'
    >>> text_of(["aspirin", "helps"], "domain.path x.jsonl", "row 3: column 'text'", "join its words")
    Traceback (most recent call last):
    ...
    ValueError: domain.path x.jsonl, row 3: column 'text' holds a list, not a text: ['aspirin', 'helps']; join its words
    """
    if not isinstance(value, str):
        raise ValueError(f"{source}, {place} holds a {type(value).__name__}, not a text: {quote(value)}; {advice}")
    if value.isascii():
        return value
    if HALF.search(value) is None:
        return value
    # Of one message Python shows the first.
    warnings.warn(f"{source}: U+FFFD is read in place of halves of surrogate pairs", stacklevel=2)
    return whole(value)


def whole(text: str) -> str:
    r"""The text, U+FFFD in place of every half of a surrogate pair; as long as it was.

    >>> whole("helps \ud83d patients")
    'helps � patients'
    """
    return HALF.sub(REPLACEMENT, text)


def argument_text(argument: str) -> str:
    r"""A text as it was typed: Python makes surrogates of the bytes of an argument that its locale does not know.

    >>> argument_text("caf\udcc3\udca9"), argument_text("caf\udce9")
    ('café', 'caf�')
    """
    try:
        return os.fsencode(argument).decode("utf-8", "replace")
    except UnicodeEncodeError:  # a half pair that no locale made
        return whole(argument)
