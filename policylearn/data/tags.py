"""Words with a tag each: named entities in the BIO scheme, as lists of words and tags, or as spans of a text.

- `tokens` and `tags`, two lists of one length: ["Aspirin", "helps"], ["B-Drug", "O"]; tags may be numbers where
  `task.labels` lists their names in that order;
- `text` and `spans`: "Aspirin helps", [{"start": 0, "end": 7, "label": "Drug"}], in characters, end exclusive. Where
  words begin does not depend on the spans; in scripts that have no blanks between them, each character is one.

`task.text` and `task.label` name other columns.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from policylearn.config import TaskConfig
from policylearn.data.formats import Record
from policylearn.data.lists import list_of
from policylearn.data.opened import OpenTask, open_task
from policylearn.data.task import CARVED, Split, Task, carve_missing, carved_line, check_repeats, read_splits, taken
from policylearn.data.text import text_of
from policylearn.messages.quote import quote, some

TOKENS, TAGS, SPANS, OUTSIDE = "tokens", "tags", "spans", "O"
BIO = re.compile(r"O|[BI]-.+", re.DOTALL)
UNSPACED = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u31ff\u3400-\u4dbf\u4e00-\u9fff"  # Chinese and Japanese
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
    "\u0e01-\u0e4e\u0e81-\u0ecf\u0edc-\u0edf"  # Thai and Lao
    "\u1000-\u103f\u104e-\u108f\u1780-\u17dd"  # Burmese and Khmer
)
"""Characters of scripts that have no blanks between words: each is taken for a word."""
ALONE = re.compile(f"[{UNSPACED}]")
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")
JOINERS = "\u200c\u200d"
"""Stand between letters of a word, or pictures of one."""


def columns_of(config: TaskConfig, head: Sequence[Record]) -> tuple[str, str]:
    """The columns of words (or a text) and of tags (or spans): those that are set, else those of the first row.

    >>> columns_of(TaskConfig(path="x"), [{"text": "a b", "tokens": ["a", "b"], "tags": ["O", "O"]}])
    ('tokens', 'tags')
    """
    first = head[0] if head else {}
    text = str(config.text) if config.text != "text" else TOKENS if TOKENS in first else "text"
    usual = SPANS if list_of(first.get(text)) is None else TAGS
    return text, config.label if config.label != "label" or config.label in first else usual


def are_tagged(config: TaskConfig, head: Sequence[Record]) -> bool:
    """Whether a task that names no kind is one of tags: its first row has lists of one length, or spans; or a list of
    words and no text, which is nothing to the other kinds."""
    first, (text, label) = head[0] if head else {}, columns_of(config, head)
    words, tags = list_of(first.get(text)), list_of(first.get(label))
    if words is not None and all(isinstance(word, str) for word in words):
        nothing_else = "text" not in first and (tags is not None or label not in first)
        return nothing_else or (tags is not None and len(words) == len(tags))
    spans = tags is not None and all(isinstance(span, dict) and {"start", "end"} <= span.keys() for span in tags)
    return isinstance(first.get(text), str) and label == SPANS and spans


def load_tags(config: TaskConfig, opened: OpenTask | None = None) -> Task:
    """Read every split: texts are tuples of words, labels lists of tags; dev and test are carved off train where there
    are none.

    Raises:
        ValueError: a split is missing or empty, a column is not there, words and tags are not as many, a tag is not of
            the BIO scheme or not in the label set, a span lies outside of its text or overlaps another, or train has
            no span, or, where spans are counted, dev or test.
    """
    opened = opened or open_task(config)
    text, label = columns_of(config, opened.head)
    records, unread = read_splits(config, opened, {text: "task.text", label: "task.label"}, [])
    read = {name: _split(config, name, rows, text, label) for name, rows in records.items()}
    labels = [_bio(name, "task.labels") for name in check_repeats(config)] or label_set(read["train"].labels)
    if len(labels) < 2:
        raise ValueError(f"task.path {config.path}: no word of train has a tag but {OUTSIDE}: mend the rows")
    for name, split in read.items():
        _check(config, name, split.labels, labels)
    rows = carve_missing(config, read, read["train"].texts, [""] * len(read["train"]))
    splits, carved = read | taken(read["train"], rows), carved_line(config, rows, "")
    for name in ("train", *CARVED) if config.metric == "span_f1" else ("train",):
        _check_spans(config, name, splits[name], rows)
    return Task(splits, labels, carved, unread, (text,), _torn_line(records["train"], text, label))


def _check_spans(config: TaskConfig, name: str, split: Split, carved: Mapping[str, Sequence[int]]) -> None:
    if set().union(*split.labels) - {OUTSIDE}:
        return
    mend = "mend it or, if its labels are kept back, name another with task.splits"
    if name in carved:
        mend = "it is carved off train: set task.dev_share and task.test_share, or name files with task.splits"
    raise ValueError(f"task.path {config.path}: no word of split {name!r} has a tag but {OUTSIDE}; {mend}")


def label_set(found: Sequence[Sequence[str]]) -> list[str]:
    """Tags of all types of span that occur: "O", and "B-" and "I-" of each.

    >>> label_set([["O", "B-Drug", "O"], ["B-Gene", "I-Gene"]])
    ['O', 'B-Drug', 'I-Drug', 'B-Gene', 'I-Gene']
    """
    types = sorted({tag[2:] for tags in found for tag in tags if tag != OUTSIDE})
    return [OUTSIDE, *(f"{at}-{name}" for name in types for at in "BI")]


def words_of(text: str, spans: Sequence[tuple[int, int, str]]) -> tuple[list[str], list[str]]:
    """The words of a text, wherever its spans [start, end) are, with the tag of each: that of the first span that
    touches it.

    >>> words_of("Wnt3a binds.", [(0, 3, "Gene")])
    (['Wnt3a', 'binds', '.'], ['B-Gene', 'O', 'O'])
    >>> words_of("breast cancer", [(0, 13, "Disease")])[1]
    ['B-Disease', 'I-Disease']
    """
    words, tags, last = [], [], None
    for start, end in _words(text):
        span = next((span for span in spans if span[0] < end and start < span[1]), None)
        words.append(text[start:end])
        tags.append(OUTSIDE if span is None else f"{'I' if span == last else 'B'}-{span[2]}")
        last = span
    return words, tags


def torn(text: str, spans: Sequence[tuple[int, int, str]]) -> int:
    """How many spans begin or end inside a word, or on white space: as those counted in bytes do, or from one.

    >>> torn("Aspirin helps", [(0, 7, "Drug")]), torn("Aspirin helps", [(0, 6, "Drug"), (7, 13, "Effect")])
    (0, 2)
    """
    inside = {place for first, after in _words(text) for place in range(first + 1, after)}
    return sum(bool(inside & {start, end}) or text[start:end] != text[start:end].strip() for start, end, _ in spans)


def _torn_line(records: Sequence[Record], text: str, label: str) -> str | None:
    rows = [
        (row[text], _spans(row[text], list_of(row[label]) or [], "")) for row in records if list_of(row[text]) is None
    ]
    if not (count := sum(torn(*row) for row in rows)):
        return None
    return (
        f"{count:,} of {sum(len(spans) for _, spans in rows):,} spans of train begin or end inside a word or on white "
        "space: they are read as characters (not bytes) from 0, the end exclusive; a word is of the first that touches "
        "it"
    )


def _words(text: str) -> list[tuple[int, int]]:
    """Where the words of a text begin and end; accents, vowel signs and joiners are part of the word they are of.

    >>> _words("cafe\u0301, हिन्दी")
    [(0, 5), (5, 6), (7, 13)]
    """
    found: list[tuple[int, int]] = []
    for word in WORD.finditer(text):
        start, end = word.span()
        first, before = text[start], text[start - 1] if found and found[-1][1] == start else ""
        joined = before in JOINERS or (_is_mark(before) and first.isalnum() and not ALONE.match(first))
        if before and (_is_mark(first) or joined):
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _is_mark(character: str) -> bool:
    return character in JOINERS or unicodedata.category(character).startswith("M")


def _split(config: TaskConfig, name: str, rows: Sequence[Record], text: str, label: str) -> Split:
    found = [_tagged(config, name, row, record[text], record[label]) for row, record in enumerate(rows)]
    words, tags = [words for words, _ in found], [tags for _, tags in found]
    plain = [r[text] if list_of(r[text]) is None else " ".join(own) for r, own in zip(rows, words, strict=True)]
    return Split(words, tags, plain)


def _tagged(config: TaskConfig, split: str, row: int, text: Any, tags: Any) -> tuple[tuple[str, ...], list[str]]:
    """Words and tags of a row."""
    where = f"task.path {config.path}: split {split!r}, row {row}"
    listed, given = list_of(tags), list_of(text)
    if listed is None:
        raise ValueError(
            f'{where}: {quote(tags)} is no list of tags or spans, as task.kind = "tagging" needs: task.label'
        )
    if given is not None:
        words = [text_of(word, where, "the list of words", "give strings") for word in given]
        found = [_name(tag, config, where) for tag in listed]
    elif isinstance(text, str):
        text = text_of(text, f"task.path {config.path}: split {split!r}", f"row {row}", "")
        words, found = words_of(text, _spans(text, listed, where))
    else:
        raise ValueError(f"{where}: {quote(text)} is neither a list of words nor a text: task.text")
    if len(words) != len(found) or not words:
        raise ValueError(f"{where}: {len(words)} words with {len(found)} tags: mend the row")
    return tuple(words), found


def _name(tag: Any, config: TaskConfig, where: str) -> str:
    """A tag by its name; a number is a place in the label set."""
    if isinstance(tag, int) and not isinstance(tag, bool):
        if config.labels is None:
            raise ValueError(f"{where}: the tag {tag} is a number: list the names of tags, in order, in task.labels")
        if not 0 <= tag < len(config.labels):
            known = f"task.labels names 0 to {len(config.labels) - 1}"
            raise ValueError(f"{where}: the tag {tag} is none, {known}: take it out with its word, or name more")
        return config.labels[tag]
    return _bio(tag, where)


def _bio(tag: Any, where: str) -> str:
    """The tag. ValueError: it is not of the BIO scheme, by which spans are found."""
    if not isinstance(tag, str) or BIO.fullmatch(tag) is None:
        raise ValueError(f"{where}: the tag {quote(tag)} is not O, or B- or I- and a type, as B-Disease is: mend it")
    return tag


def _spans(text: str, given: list[Any], where: str) -> list[tuple[int, int, str]]:
    """The spans of a text in order.

    Raises:
        ValueError: one is none, lies outside of the text, holds no word or overlaps another.
    """
    found = sorted(_span(span, where) for span in given)
    for start, end, _ in found:
        if not 0 <= start < end <= len(text) or WORD.search(text, start, end) is None:
            raise ValueError(f"{where}: the span {start} to {end} holds no word of a text of {len(text)} characters")
    for (start, end, _), (after, _, _) in pairwise(found):
        if after < end:
            raise ValueError(f"{where}: the spans at {start} and {after} overlap, and a word has one tag: keep one")
    return found


def _span(span: Any, where: str) -> tuple[int, int, str]:
    if isinstance(span, Mapping) and {"start", "end", "label"} <= span.keys():
        start, end, label = span["start"], span["end"], span["label"]
        if isinstance(start, int) and isinstance(end, int) and isinstance(label, str) and label:
            return start, end, label
    raise ValueError(f'{where}: {quote(span)} is no span such as {{"start": 0, "end": 7, "label": "Drug"}}')


def _check(config: TaskConfig, split: str, found: Sequence[Sequence[str]], labels: Sequence[str]) -> None:
    known = set(labels)
    for row, tags in enumerate(found):
        if unknown := [tag for tag in tags if tag not in known]:
            raise ValueError(
                f"task.path {config.path}: split {split!r}, row {row}: the tag {quote(unknown[0])} is not in the label "
                f"set {some(labels)}, which train has; mend the row or set task.labels"
            )
