"""A labelled task of pictures: where its splits lie, and their classes, checked before anything is trained."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from policylearn.config import TaskConfig
from policylearn.config.places import not_found
from policylearn.data.labels import check_labels, check_spelling, class_of, in_order
from policylearn.data.overview import PICTURES
from policylearn.data.pictures import Pictures
from policylearn.data.records import is_null
from policylearn.data.splits import SPLITS, free_names
from policylearn.data.task import Split, Task, check_repeats
from policylearn.messages.quote import some


def splits_of(config: TaskConfig) -> dict[str, str]:
    """Where train, dev and test of a task of pictures lie, and its extra tests.

    Raises:
        ValueError: the folder or one of them is missing, or one is there twice.
    """
    own = {str(split): (name,) for split, name in config.splits.items()}
    found = {}
    for split in (*SPLITS, *config.extra_tests):
        known = own.get(split, tuple(free_names(split, config)))
        places = [Path(config.path) / f"{name}{end}" for name in known for end in ("", ".npz")]
        there = [place for place in places if place.exists()]
        if len(there) > 1:
            several = some(place.name for place in there)
            raise ValueError(f"task.path {config.path} has several places for one split, {several}: keep one of them")
        if not Path(config.path).exists():
            raise ValueError(f"task.path {config.path} does not exist{not_found(config.path)}")
        if not there:
            raise ValueError(
                f"task.path {config.path} has no {split}, and none is carved off pictures: put a folder of classes, an "
                f".npz file or a data set saved to disk of the name {some(known)} there, or name it in task.splits"
            )
        found[split] = str(there[0])
    return found


def picture_task(config: TaskConfig, read: Mapping[str, Pictures]) -> Task:
    """Splits of pictures, each told by a hash of its pixels, and their classes.

    Args:
        config: the section [task].
        read: what `read_pictures` gave of every split.

    Raises:
        ValueError: a picture has no class or none of the label set, or train has fewer than two classes.
    """
    splits = {}
    for name, (rows, labels, names) in read.items():
        where = f"task.path {config.path}: split {name!r}"
        if missing := [place for place, label in zip(names, labels, strict=True) if is_null(label)]:
            raise ValueError(
                f"{where} has {len(missing):,} of {len(labels):,} pictures without a class, the first {missing[0]}: "
                "put them into a folder named after it, name the column that has it in task.label, or take them out"
            )
        hashes = [sha256(picture.tobytes()).hexdigest() for picture in rows.pixels]
        splits[name] = Split(hashes, [class_of(label, where) for label in labels])
        spelt = dict(zip(splits[name].labels, labels, strict=True))
        if both := [
            (label, one) for label, of in zip(labels, splits[name].labels, strict=True) if (one := spelt[of]) != label
        ]:
            raise ValueError(
                f"{where} has the classes {both[0][0]!r} and {both[0][1]!r}, which are one: name them otherwise"
            )
    chosen = check_repeats(config)
    labels = chosen or in_order(splits["train"].labels)
    check_spelling(labels)
    for name, split in splits.items():
        check_labels(split.labels, labels, bool(chosen), f"task.path {config.path}: split {name!r}")
    if len(labels) < 2:
        raise ValueError(f"task.path {config.path}: a task needs at least two labels, train has {labels}")
    return Task(splits, labels, columns=PICTURES)
