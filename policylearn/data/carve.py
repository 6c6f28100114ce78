"""Splits carved off rows that have none: by the texts themselves, so that neither order nor chance has a say."""

import hashlib
from collections.abc import Mapping, Sequence

from policylearn.data.labels import most_common

LEAST = 10
"""Rows of a split that is carved off: of fewer no score says anything."""


def carve(texts: Sequence[str], labels: Sequence[str], shares: Mapping[str, float]) -> dict[str, list[int]]:
    """Row numbers of "train" and of the splits that are carved off it.

    Rows of one text stay together. Every label's share of the rows of each split is what it is in all rows, as near as
    its texts allow; a label of too few texts for every split stays in train, as does a text of more rows than a split
    has room for. Within a label texts go by their SHA-256.

    Args:
        texts: of all rows.
        labels: of all rows; rows without labels have one and the same.
        shares: split → its share of all rows.

    Raises:
        ValueError: a split would have fewer than `LEAST` rows, or a single label where there are several.

    >>> found = carve([f"text {i}" for i in range(100)], ["a", "b"] * 50, {"dev": 0.2, "test": 0.2})
    >>> {name: len(rows) for name, rows in found.items()}
    {'train': 60, 'dev': 20, 'test': 20}
    """
    rows_of: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        rows_of.setdefault(text, []).append(row)
    strata: dict[str, list[list[int]]] = {}
    for text in sorted(rows_of, key=lambda text: hashlib.sha256(text.encode()).digest()):
        strata.setdefault(most_common(labels[row] for row in rows_of[text]), []).append(rows_of[text])
    found: dict[str, list[int]] = {"train": [], **{name: [] for name in shares}}
    for groups in strata.values():
        for name, rows in _dealt(groups, shares).items():
            found[name] += rows
    found = {name: sorted(rows) for name, rows in found.items()}
    for name in shares:
        _check_size(name, [labels[row] for row in found[name]], labels, len(rows_of))
    return found


def _dealt(groups: Sequence[list[int]], shares: Mapping[str, float]) -> dict[str, list[int]]:
    """The rows of one label, whose texts come in order."""
    if len(groups) <= len(shares):
        return {"train": [row for group in groups for row in group]}
    total, dealt = sum(map(len, groups)), {}
    room = max(1, min(round(share * total) for share in shares.values()))
    kept = [group for group in groups if len(group) > room]  # one text of so many rows would fill a split
    left = [group for group in groups if len(group) <= room]
    if len(left) <= len(shares):
        return {"train": [row for group in groups for row in group]}
    for after, (name, share) in zip(range(len(shares), 0, -1), shares.items(), strict=True):
        taken = list(left.pop(0))
        while len(taken) < round(share * total) and len(left) > after:
            taken += left.pop(0)
        dealt[name] = taken
    return dealt | {"train": [row for group in [*left, *kept] for row in group]}


def _check_size(name: str, carved: Sequence[str], labels: Sequence[str], texts: int) -> None:
    """`texts`: how many different ones the rows have."""
    if len(carved) < LEAST and len(labels) >= 2 * LEAST and 2 * len(set(labels)) > len(labels):
        raise ValueError(
            f"{len(labels)} rows have {len(set(labels))} different labels, too many to carve a split {name!r} off: is "
            'task.label a column of ids? If it holds amounts, set task.kind = "regression"; else give the split a file'
        )
    if len(carved) < LEAST <= len(labels) and 2 * texts <= len(labels):
        raise ValueError(
            f"{len(labels)} rows have {texts} different texts, too few to carve a split {name!r} off, for rows of one "
            "text stay together: is task.text the right column? If it is, give a file for the split"
        )
    if len(carved) < LEAST or len(set(carved)) < min(2, len(set(labels))):
        of = f", of {len(set(carved))} of {len(set(labels))} labels," if len(set(labels)) > 1 else ""
        raise ValueError(
            f"{len(labels)} rows are too few to carve a split {name!r} off them: it would have {len(carved)}{of} and "
            f"needs {LEAST}; give a file for it, or raise task.{name}_share"
        )
