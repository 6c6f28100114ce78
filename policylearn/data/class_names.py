"""Classes that the library `datasets` keeps by number, by their names."""

from collections.abc import Mapping
from typing import Any

from policylearn.messages.quote import some


def classes_of(features: Any) -> dict[str, list[str]]:
    """Names of the classes, of the columns that have such numbers or lists of them.

    Args:
        features: of a data set, as `Features.to_dict` gives them or as they are; None: it knows none. What is not of
            the form that they have there names no classes.

    >>> classes_of({"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}, "text": {"_type": "Value"}})
    {'label': ['neg', 'pos']}
    """
    known = features.to_dict() if hasattr(features, "to_dict") else features or {}
    return {column: names for column, kind in known.items() if (names := _classes(kind))}


def with_names(row: dict[str, Any], classes: Mapping[str, list[str]], where: str) -> dict[str, Any]:
    """A row whose classes are called by their names. ValueError: one has none; `where` the row is."""
    named = {column: names for column, names in classes.items() if column in row}
    return row | {c: _named(row[c], names, f"{where}: column {c!r}") for c, names in named.items()}


def _classes(kind: Any) -> list[str]:
    """Of a column of `ClassLabel`, or of lists of them; none of any other."""
    if isinstance(kind, list):
        kind = next(iter(kind), None)
    if not isinstance(kind, Mapping):
        return []
    if "feature" in kind:
        return _classes(kind["feature"])
    names = kind.get("names") if kind.get("_type") == "ClassLabel" else None
    return list(names) if isinstance(names, list | tuple) else []


def _named(value: Any, names: list[str], where: str) -> Any:
    """The class of a number, or of each of a list; None of -1, which stands for none, and of what is missing.

    >>> _named([1, 0, -1, None], ["neg", "pos"], "row 0: column 'label'")
    ['pos', 'neg', None, None]
    """
    if isinstance(value, list):
        return [_named(one, names, where) for one in value]
    if not isinstance(value, int):
        return value
    if value >= len(names):
        raise ValueError(
            f"{where} holds class {value}, but its ClassLabel has names for {len(names)}, {some(names)}: give it all "
            "names, or write them in place of the numbers"
        )
    return names[value] if value >= 0 else None
