"""What a task is made of, in a few lines: they show at a glance whether it is the one that was meant."""

from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from statistics import fmean, pstdev
from typing import Any

from policylearn.data.labels import differ_in_case
from policylearn.data.questions import QuestionTask
from policylearn.data.splits import SPLITS
from policylearn.data.task import Task
from policylearn.data.tokens import Text
from policylearn.messages.quote import quote, shorten

SHOWN, NAME = 6, 30
"""Labels in a line, and characters of each."""
FEW = 5
"""Training rows of a label, below which that is said."""
MANY = 0.05
"""Share of train, above which it is said that so many rows have one text."""
MISSING = ("nan", "NaN", "NA", "N/A", "n/a", "<NA>", "None", "null", "NULL")
"""What a missing value becomes where a table is written as text."""
PICTURES = ("picture",)
"""Column of a task of pictures."""


def describe_task(task: Task) -> list[str]:
    """Rows of every split, labels with their shares of train, and what is odd about them.

    >>> from policylearn.data.task import Split
    >>> train = Split(["a", "b", "c", "d"], ["x", "x", "x", "y"])
    >>> print(*describe_task(Task({"train": train, "dev": train, "test": Split(["e"], ["x"])}, ["x", "y"])), sep="\\n")
    task  4 / 4 / 1 rows, 2 labels: x 75 %, y 25 %
    task  labels of fewer than 5 training rows: x 3, y 1
    task  no row of test has the label y
    task  4 of 4 dev rows repeat a training text
    """
    counts = Counter(task.splits["train"].labels)
    shares = [f"{_short(label)} {100 * count / counts.total():.0f} %" for label, count in counts.most_common()]
    lines = [task.carved, f"{_sizes(task.splits, _rows(task))}, {len(task.labels)} labels: {_cut(shares)}"]
    lines += [_unread(task.unread), _rare(counts, task.labels), _in_case(task.labels), *_missing(counts)]
    lines += _absent({name: set(split.labels) for name, split in task.splits.items()}, counts)
    return _said(
        [
            *lines,
            _at_odds(task),
            *_blank(task),
            *_repeats(_texts(task), "picture" if task.columns == PICTURES else "text"),
        ]
    )


def describe_label_sets(task: Task) -> list[str]:
    """Rows of every split, how many labels they have, and what is odd about them."""
    rows = task.splits["train"].labels
    counts = Counter(label for found in rows for label in found)
    shares = [f"{_short(label)} {100 * count / len(rows):.0f} %" for label, count in counts.most_common()]
    each = (
        f"{fmean(map(len, rows)):.1f} of {len(task.labels)} labels per row ({sum(not found for found in rows):,} none)"
    )
    lines = [task.carved, f"{_sizes(task.splits, _rows(task))}, {each}: {_cut(shares)}", _unread(task.unread)]
    lines += [
        _rare(counts, task.labels),
        _in_case(task.labels),
        *_missing(counts),
        *_absent(_labels_of_lists(task), counts),
    ]
    return _said([*lines, _at_odds(task), *_blank(task), *_repeats(_texts(task))])


def describe_numbers(task: Task) -> list[str]:
    """Rows of every split, what their numbers are like, and what is odd about them."""
    found = task.splits["train"].labels
    spread = f"{min(found):g} to {max(found):g}, mean {fmean(found):.3g}, sd {pstdev(found):.3g}"
    sizes = f"{_sizes(task.splits, _rows(task))}, a number each: {spread}"
    return _said([task.carved, sizes, _unread(task.unread), _at_odds(task), *_blank(task), *_repeats(_texts(task))])


def describe_tags(task: Task) -> list[str]:
    """Rows and words of every split, tags with their shares of the words of train, and what is odd about them."""
    found = task.splits["train"].labels
    counts = Counter(tag for tags in found for tag in tags)
    shares = [f"{_short(tag)} {100 * count / counts.total():.1f} %" for tag, count in counts.most_common()]
    spans = {tag: count for tag, count in counts.items() if tag.startswith("B-")}
    sizes = (
        f"{_sizes(task.splits, 'rows')}, {counts.total():,} words of train in {len(task.labels)} tags: {_cut(shares)}"
    )
    lines = [
        task.carved,
        sizes,
        _unread(task.unread),
        task.torn,
        _rare(counts, [tag for tag in task.labels if tag in spans]),
    ]
    lines += _absent(_labels_of_lists(task), counts)
    return _said([*lines, _at_odds(task), *_repeats(_texts(task))])


def describe_questions(task: QuestionTask) -> list[str]:
    """Questions of every split, how many answers and choices they have, and what is odd about them."""
    train = task.splits["train"]
    answers, choices = (sum(len(getattr(q, name)) for q in train) / len(train) for name in ("accepted", "choices"))
    means = f"{answers:.1f} accepted answers" + (f" and {choices:.1f} choices" if choices else "") + " on average"
    texts: dict[str, Sequence[Text]] = {
        name: [question.text for question in questions] for name, questions in task.splits.items()
    }
    lines = [task.carved, f"{_sizes(task.splits, 'questions')}, {means}", _unread(task.unread)]
    for name, questions in task.splits.items():
        if single := sum(len(question.choices) == 1 for question in questions):
            lines.append(
                f"{single:,} of {len(questions):,} {name} questions have a single choice, which is always right"
            )
    return _said([*lines, *_repeats(texts)])


def _rows(task: Task) -> str:
    """What they are called, with the columns of pairs."""
    if task.columns == PICTURES:
        return "pictures"
    return "rows" if len(task.columns) == 1 else f"pairs ({', '.join(map(_short, task.columns))})"


def _texts(task: Task) -> dict[str, Sequence[Text]]:
    return {name: split.texts for name, split in task.splits.items()}


def _said(lines: Sequence[str | None]) -> list[str]:
    return [f"task  {line}" for line in lines if line]


def _sizes(splits: Mapping[str, Sized], what: str) -> str:
    extra = [f"{name} {len(splits[name]):,}" for name in splits if name not in SPLITS]
    sizes = " / ".join(f"{len(splits[name]):,}" for name in SPLITS)
    return f"{sizes} {what}{f' ({_cut(extra)})' if extra else ''}"


def _cut(parts: Sequence[str]) -> str:
    more = f" … and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    return ", ".join(parts[:SHOWN]) + more


NAMELESS = "(no name)"


def _short(label: str) -> str:
    return shorten(label, NAME)


def _unread(columns: Sequence[str]) -> str | None:
    return f"columns that are not read: {_cut([_short(name) or NAMELESS for name in columns])}" if columns else None


def _rare(counts: Counter[str], labels: Sequence[str]) -> str | None:
    rare = [f"{_short(label) or NAMELESS} {counts[label]}" for label in labels if counts[label] < FEW]
    return f"labels of fewer than {FEW} training rows: {_cut(rare)}" if rare else None


def _in_case(labels: Sequence[str]) -> str | None:
    pair = differ_in_case(labels)
    return f"the labels {_short(pair[0])} and {_short(pair[1])} differ in capitals only" if pair else None


def _missing(counts: Counter[str]) -> list[str]:
    return [
        f"{label!r} is counted as a label: {counts[label]:,} rows of train; if it means missing, drop them"
        for label in MISSING
        if counts[label]
    ]


def _at_odds(task: Task) -> str | None:
    """That rows of train with one text have not one label."""
    labels: dict[Text, set[Any]] = {}
    for text, label in zip(task.splits["train"].texts, task.splits["train"].labels, strict=True):
        labels.setdefault(text, set()).add(tuple(label) if isinstance(label, list) else label)
    odd = [text for text, found in labels.items() if len(found) > 1]
    what = "pictures" if task.columns == PICTURES else "texts"
    such = f", such as {quote(odd[0])}" if odd and what == "texts" else ""
    return f"{what} of train whose rows differ in their label: {len(odd):,}{such}" if odd else None


def _labels_of_lists(task: Task) -> dict[str, set[str]]:
    return {name: {label for own in split.labels for label in own} for name, split in task.splits.items()}


def _absent(found: Mapping[str, set[str]], counts: Counter[str]) -> list[str]:
    """Labels of train that a split has not: some metrics count them as predicted wrongly."""
    absent = {name: [_short(label) for label in sorted(set(counts) - own)] for name, own in found.items()}
    return [f"no row of {name} has the label {_cut(labels)}" for name, labels in absent.items() if labels]


def _blank(task: Task) -> list[str]:
    """Of pairs, how many have one text alone."""
    if len(task.columns) < 2:
        return []
    counts = {
        (name, column): sum(not pair[at].strip() for pair in split.texts)
        for name, split in task.splits.items()
        for at, column in enumerate(task.columns)
    }
    return [
        f"{count:,} of {len(task.splits[name]):,} {name} rows have a blank {_short(column)}"
        for (name, column), count in counts.items()
        if count
    ]


def _repeats(texts: Mapping[str, Sequence[Text]], what: str = "text") -> list[str]:
    repeats = []
    for first, told in (("train", "training"), ("dev", "dev")):
        known = set(texts[first])
        others = [name for name in texts if name not in ("train", first)]
        counts = {name: sum(text in known for text in texts[name]) for name in others}
        repeats += [
            f"{count:,} of {len(texts[name]):,} {name} rows repeat a {told} {what}"
            for name, count in counts.items()
            if count
        ]
    (text, most), rows = Counter(texts["train"]).most_common(1)[0], len(texts["train"])
    if what == "text" and most > max(FEW, MANY * rows):
        repeats.append(f"{most:,} of {rows:,} train rows have one and the same text, {quote(text)}")
    return repeats
