"""What counts as a label: one class, however a file spells it."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from policylearn.data.lists import list_of
from policylearn.data.text import whole
from policylearn.messages.quote import quote, some

ADVICE = "task.label must hold one class per row"
INDICATORS = 'looks like a number for each class; task.kind = "multilabel" needs the names of those that the row has'
WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
INTEGER = re.compile(r"-?[0-9]{1,18}")
NUMBER_OR_NOT = re.compile(r"[01]|True|False|[+-]?\d*\.\d+")
"""What stands for whether a row has a class, or how likely it is."""
NUMBER = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?")


def class_of(value: Any, where: str) -> str:
    """A label as the name of its class: 1, 1.0 (as a column of whole numbers with a gap has it) and "1.0" are one.

    Args:
        value: what a record has in its column.
        where: that is, for messages.

    Raises:
        ValueError: it is neither a string nor a truth value nor a number.

    >>> class_of(1.0, "row 0"), class_of("01", "row 0"), class_of(True, "row 0"), class_of(3.5, "row 0")
    ('1', '01', 'True', '3.5')
    >>> class_of(["a", "b"], "row 0")
    Traceback (most recent call last):
    ...
    ValueError: row 0: the label is a list, ['a', 'b']; task.label must hold one class per row
    """
    if not isinstance(value, str | bool | int | float):
        raise ValueError(f"{where}: the label is a {type(value).__name__}, {quote(value)}; {ADVICE}")
    text = whole(str(value))
    return number[1] if (number := WHOLE.fullmatch(text)) else text


def classes_of(value: Any, where: str) -> list[str]:
    """A list of labels, as names of classes without repeats; a string may spell one, see `list_of`.

    Raises:
        ValueError: it is no list, or holds what is no class.

    >>> classes_of(["a", "b", "a"], "row 0"), classes_of('["a"]', "row 0"), classes_of([], "row 0")
    (['a', 'b'], ['a'], [])
    >>> classes_of("a, b", "row 0")
    Traceback (most recent call last):
    ...
    ValueError: row 0: the label 'a, b' is no list, as task.kind = "multilabel" needs, such as ["joy", "anger"]
    """
    if (found := list_of(value)) is None:
        raise ValueError(
            f'{where}: the label {quote(value)} is no list, as task.kind = "multilabel" needs, such as ["joy", "anger"]'
        )
    names = [class_of(label, where) for label in found]
    numbers = len(names) > 1 and all(NUMBER_OR_NOT.fullmatch(name) for name in names)
    if numbers and (len({*names}) < len(names) or any(map(is_rating, names))):
        raise ValueError(f"{where}: {quote(value)} {INDICATORS}")
    if blank := [name for name in names if not name.strip()]:
        raise ValueError(f"{where}: the label {quote(blank[0])} in a list is blank; take it out of the list")
    return list(dict.fromkeys(names))


def check_sets_differ(found: Sequence[Sequence[str]], where: str) -> None:
    """Raises ValueError if all rows have the same labels, as those with an indicator for each of two classes seem to.

    >>> check_sets_differ([["1", "0"], ["0", "1"]], "train")
    Traceback (most recent call last):
    ...
    ValueError: train: every row has the labels ['0', '1'], which looks like a number for each class; task.kind = \
"multilabel" needs the names of those that the row has
    """
    if len({frozenset(labels) for labels in found}) > 1:
        return
    numbers = found[0] and all(map(NUMBER_OR_NOT.fullmatch, found[0]))
    advice = f", which {INDICATORS}" if numbers else ": nothing is to be told apart, set task.label to another column"
    raise ValueError(f"{where}: every row has the labels {some(sorted(found[0]))}{advice}")


def number_of(value: Any, where: str) -> float:
    """A label as a number.

    Raises:
        ValueError: it is none, or not finite.

    >>> number_of("3.5", "row 0"), number_of(2, "row 0")
    (3.5, 2.0)
    """
    try:
        found = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):  # a string that spells no number; a whole number beyond all others
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(
            f'{where}: the label {quote(value)} is no number, as task.kind = "regression" needs: mend the row'
        )
    return found


def check_labels(found: Sequence[str], labels: Sequence[str], chosen: bool, where: str) -> None:
    """See that the labels of a split are classes of the label set.

    Args:
        found: label of every row.
        labels: the label set.
        chosen: whether it is `task.labels`, which says that they are classes, whatever they look like.
        where: the rows come from, for messages.

    Raises:
        ValueError: a label is blank, no class but a number, or not in the label set; with its row.
    """
    known = set(labels)
    for row, label in enumerate(found):
        if not chosen and is_rating(label):
            raise ValueError(
                f"{where}, row {row}: the label is the number {label}; {ADVICE}. If such numbers are classes, list "
                'them in task.labels; if they are to be predicted as numbers, set task.kind = "regression"'
            )
        if label not in known:
            hidden = ", or, if the labels of this split are kept back, name another with task.splits"
            raise ValueError(
                f"{where}, row {row}: label {quote(label)} is not in the label set {some(labels)}; mend the row or set "
                f"task.labels{hidden if set(found) == {'-1'} else ''}"
            )


def is_rating(label: str) -> bool:
    """Whether a label is a number with a fraction.

    >>> [is_rating(label) for label in ("3.5", "1e-3", "7", "007", "1.2.3", "nan")]
    [True, True, False, False, False, False]
    """
    return NUMBER.fullmatch(label) is not None and not float(label).is_integer()


def in_order(labels: Iterable[str]) -> list[str]:
    """Labels without repeats or blank ones: whole numbers by size, others as an alphabet has them.

    >>> in_order(["10", "9", "-1", "9"]), in_order(["b", "a", "10", " "])
    (['-1', '9', '10'], ['10', 'a', 'b'])
    """
    found = sorted({label for label in labels if label.strip()})
    return sorted(found, key=int) if all(map(INTEGER.fullmatch, found)) else found


def check_spelling(labels: Iterable[str]) -> None:
    """Raises ValueError if two labels differ in nothing that is seen: blanks, characters without a width, and whether
    an accent is a character of its own.

    >>> check_spelling(["method", "method "])
    Traceback (most recent call last):
    ...
    ValueError: the labels 'method' and 'method ' differ in blanks only: spell them alike, one class is one label
    """
    labels = list(labels)
    if (pair := _alike(labels, _as_seen)) and _alike(pair, lambda label: " ".join(label.split())) is None:
        raise ValueError(
            f"the labels {pair[0]!a} and {pair[1]!a} look alike and are different characters: spell them "
            "alike, one class is one label"
        )
    if pair:
        raise ValueError(
            f"the labels {quote(pair[0])} and {quote(pair[1])} differ in blanks only: spell them alike, one class is "
            "one label"
        )


def _as_seen(label: str) -> str:
    seen = "".join(c for c in unicodedata.normalize("NFC", label) if unicodedata.category(c) != "Cf")
    return " ".join(seen.split())


def differ_in_case(labels: Iterable[str]) -> tuple[str, str] | None:
    """Two labels that differ in capitals only, if there are any.

    >>> differ_in_case(["Method", "Result", "method"])
    ('Method', 'method')
    """
    return _alike(labels, str.casefold)


def _alike(labels: Iterable[str], form: Any) -> tuple[str, str] | None:
    seen: dict[str, str] = {}
    for label in labels:
        if (first := seen.setdefault(form(label), label)) != label:
            return first, label
    return None


def most_common(labels: Iterable[str]) -> str:
    """The most frequent label; of several the first in the alphabet.

    >>> most_common(["b", "a", "a", "b", "c"])
    'a'
    """
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))
