"""Lists in the cells of a table, which are texts: spelt in JSON, or as Python does, which is what pandas writes."""

import ast
import json
from typing import Any

import numpy as np


def list_of(value: Any) -> list[Any] | None:
    """A list, tuple or array as a list, also where a string spells it; None: it is no list.

    What Python would not write just so is no list: `['a' 'b']`, as NumPy writes an array, is one of `'ab'` to Python.

    >>> list_of(("a", "b")), list_of('["a", "b"]'), list_of("['a', 'b']"), list_of("[{'start': 0, 'end': 7}]")
    (['a', 'b'], ['a', 'b'], ['a', 'b'], [{'start': 0, 'end': 7}])
    >>> list_of("a, b"), list_of("[1] Smith et al."), list_of("['a' 'b']"), list_of(None)
    (None, None, None, None)
    """
    if isinstance(value, list | tuple | np.ndarray):
        return list(value)
    if not isinstance(value, str) or not value.strip().startswith("["):
        return None
    try:
        found = json.loads(value)
    except (json.JSONDecodeError, RecursionError):  # what a file holds may be anything
        found = _written_by_python(value.strip())
    return found if isinstance(found, list) else None


def _written_by_python(cell: str) -> Any:
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # the same
        return None
    return found if _packed(repr(found)) == _packed(cell) else None


def _packed(text: str) -> str:
    return "".join(text.split())
