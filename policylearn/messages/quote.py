"""What a stranger's values look like in our messages: short, however long they are."""

import reprlib
from collections.abc import Iterable
from typing import Any

LONGEST = 1500
"""Characters of a message: about a screen."""
_shape = reprlib.Repr()
_shape.maxlevel, _shape.maxstring, _shape.maxother, _shape.maxlong = 2, 60, 60, 60


def quote(value: Any, most: int = 100) -> str:
    """`repr`, cut in the middle, of a value of any size.

    >>> quote("methud"), quote(["O"] * 10000), len(quote("x" * 10**6))
    ("'methud'", "['O', 'O', 'O', 'O', 'O', 'O', ...]", 60)
    """
    return shorten(_shape.repr(value), most)


def some(names: Iterable[Any], most: int = 12) -> str:
    """A list of names, or the first of them and how many more there are.

    >>> some(["a", "b"]), some("abcde", most=2)
    ("['a', 'b']", "['a', 'b', … and 3 more]")
    """
    listed = list(names)
    more = [f"… and {len(listed) - most:,} more"] if len(listed) > most else []
    return f"[{', '.join([*map(quote, listed[:most]), *more])}]"


def shorten(message: str, most: int = LONGEST) -> str:
    """A message of at most so many characters, cut in the middle: what happened stands first, what to do last.

    >>> shorten("a" * 30 + "b" * 30, 25)
    'aaaaaaaaaaa … bbbbbbbbbbb'
    """
    if len(message) <= most:
        return message
    tail = (most - 3) // 2
    return f"{message[: most - 3 - tail]} … {message[-tail:]}"
