"""Classes that the library `datasets` keeps by number, by their names."""

from collections.abc import Mapping
from typing import Any


def classes_of(features: Any) -> dict[str, list[str]]:
    """Names of the classes, of the columns that have such numbers or lists of them.

    Args:
        features: of a data set, as `Features.to_dict` gives them or as they are; None: it knows none.

    >>> classes_of({"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}, "text": {"_type": "Value"}})
    {'label': ['neg', 'pos']}
    """
    known = features.to_dict() if hasattr(features, "to_dict") else features or {}
    return {column: names for column, kind in known.items() if (names := _classes(kind))}


def with_names(row: dict[str, Any], classes: Mapping[str, list[str]]) -> dict[str, Any]:
    """A row whose classes are called by their names."""
    return row | {column: _named(row[column], names) for column, names in classes.items() if column in row}


def _classes(kind: Any) -> list[str]:
    """Of a column of `ClassLabel`, or of lists of them; none of any other."""
    if isinstance(kind, list):
        kind = kind[0]
    if "feature" in kind:
        return _classes(kind["feature"])
    return list(kind.get("names") or []) if kind.get("_type") == "ClassLabel" else []


def _named(value: Any, names: list[str]) -> Any:
    """The class of a number, or of each of a list; None of -1, which stands for none, and of what is missing.

    >>> _named([1, 0, -1, None], ["neg", "pos"])
    ['pos', 'neg', None, None]
    """
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    if not isinstance(value, int):
        return value
    return names[value] if value >= 0 else None
