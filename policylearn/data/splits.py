"""Where the splits of a data set lie: in files of their own, in shards, in a folder each, or on the Hub."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path

from policylearn.config import TaskConfig
from policylearn.config.places import not_found
from policylearn.data.formats import ENDINGS, Record, format_of, read_file, stem_of
from policylearn.data.hub import DATASETS, hub_splits, is_saved, saved_rows
from policylearn.data.records import matching_files, names_of
from policylearn.messages.quote import some

Rows = Callable[[], Iterable[Record]]
SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)")
WORD = re.compile(r"[^\W\d_]+")
SPLITS = ("train", "dev", "test")
PLACES = (".", "data")
"""Folders in the folder of a data set in which its files may be."""


def find_split(folder: str, name: str, key: str = "task.path") -> list[Path]:
    """The files of one split in a folder: `train.jsonl.gz`, `validation.csv` for dev, all shards
    `data/train-00000-of-00002.parquet`, or what the folder `train/` holds.

    Raises:
        ValueError: there is none, there are several, or a shard is missing.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"{key} {folder} is no folder; give one with a file of each split")
    if not (found := split_files(folder, names_of(name), key)):
        raise missing_split(folder, name, key)
    return found


def missing_split(path: str, name: str, key: str = "task.path") -> ValueError:
    """What to say of a split that is not there."""
    return ValueError(
        f"{key} {path} has no split {name!r}; a folder may have it as {' or '.join(names_of(name))} with one of "
        f"{', '.join(ENDINGS)}, or as shards such as {name}-00000-of-00002.parquet"
    )


def rows_of(files: Iterable[Path], key: str) -> Iterator[Record]:
    """The rows of several files or folders saved to disk, one after the other."""
    return chain.from_iterable(saved_rows(file, key) if file.is_dir() else read_file(file, key) for file in files)


def split_files(folder: str, names: Iterable[str], key: str) -> list[Path]:
    """The files of the split that has one of the names; empty where none has; raises as `find_split`."""
    groups = [files for name in names for place in PLACES for files in _named(Path(folder) / place, name)]
    if len(groups) > 1:
        both = [str(files[0].relative_to(folder)) for files in groups]
        raise ValueError(f"{key} {folder} has several files for one split, {some(both)}: keep one of them")
    for file in (files := groups[0] if groups else []):
        _check_complete(file, files, key)
    return files


def _named(place: Path, name: str) -> list[list[Path]]:
    """Every file of the name, the shards of the name together, and what a folder of the name holds."""
    if not place.is_dir():
        return []
    known = sorted(path for path in place.iterdir() if path.is_file() and format_of(path))
    plain = [[path] for path in known if stem_of(path) == name.lower()]
    shards = [path for path in known if (shard := SHARD.fullmatch(stem_of(path))) and shard[1] == name.lower()]
    within = place / name
    inside = [within] if is_saved(within) else sorted(path for path in within.glob("[!.]*") if format_of(path))
    return [*plain, *filter(None, [shards, inside])]


def _check_complete(file: Path, files: list[Path], key: str) -> None:
    shard = SHARD.fullmatch(stem_of(file)) if file.is_file() else None
    if shard and len(files) != int(shard[3]):
        raise ValueError(f"{key}: {len(files)} of the {int(shard[3])} shards {file.parent / shard[1]}-… are there")


def task_splits(config: TaskConfig, wanted: Iterable[str]) -> dict[str, Rows]:
    """The splits that a data set has, of those wanted, as functions that open their rows; what is one set of rows
    is "train".

    Raises:
        ValueError: it does not exist, or has no such split as `task.splits` names.
    """
    key, path = "task.path", Path(config.path)
    if path.is_dir() and not is_saved(path):
        return _chosen(config, wanted, lambda names: _read_later(split_files(config.path, names, key), key))
    if not (files := _one_set(config.path, key)):
        return _on_hub(config, wanted, key)
    if config.splits:
        raise ValueError(f"task.splits: {config.path} has no splits to choose from; unset it")
    return {"train": partial(rows_of, files, key)}


def unread_files(config: TaskConfig) -> list[str]:
    """Names of the files in a folder of a task, and of folders as splits have them, that are of no split read."""
    folder = Path(config.path)
    if not folder.is_dir() or is_saved(folder):
        return []
    roles = ("train", "dev", "test", *config.extra_tests)
    known = {name for role in roles for name in (config.splits.get(role), *names_of(role))}  # type: ignore[call-overload]
    places = [place for name in PLACES if (place := folder / name).is_dir()]
    found = sorted(
        path for place in places for path in place.iterdir() if path.name[0] != "." and path.name != DATASETS
    )
    files = [path for path in found if path.is_file() and format_of(path) and _shard_of(path) not in known]
    folders = [path for path in found if path.name not in {*known, *PLACES} and _holds_rows(path)]
    return [f"{path.relative_to(folder)}{'/' * path.is_dir()}" for path in (*files, *folders)]


def _shard_of(file: Path) -> str:
    return SHARD.sub(r"\1", stem_of(file))


def _holds_rows(folder: Path) -> bool:
    """Whether it looks like a split, and not like a run or a model that was put there."""
    if (folder / "config.json").exists():
        return False
    return is_saved(folder) or any(map(format_of, folder.glob("[!.]*")))


def _on_hub(config: TaskConfig, wanted: Iterable[str], key: str) -> dict[str, Rows]:
    found = hub_splits(config.path, key, config.configuration, config.revision)
    splits = _chosen(config, wanted, lambda names: next((_given(found[n]) for n in names if n in found), None))
    if missing := [role for role in ("train", *config.extra_tests) if role not in splits]:
        own = '; name one with task.splits={train = "…"}' if missing[0] == "train" else ""
        raise ValueError(f"{key} {config.path!r} has no split {missing[0]!r}; it has {some(found)}{own}")
    return splits


def _one_set(source: str, key: str) -> list[Path]:
    """The files to be read as one set of rows, where `source` is one or a pattern of several; none for a Hub name.

    Raises:
        ValueError: it looks like a file, and is not there; or a pattern matches those of several splits.
    """
    files = [Path(file) for file in matching_files(source, key)]
    if _are_of_several_splits(files):
        raise ValueError(
            f"{key} {source} matches files of several splits, {some(map(str, files))}, and would make one set of them: "
            "name the folder that they are in, with task.splits where splits have longer names, or rename what is none"
        )
    if all(file.exists() for file in files):
        return files
    if files[0].is_absolute() or source.startswith(".") or format_of(files[0]):
        raise ValueError(f"{key} {source} does not exist{not_found(source)}")
    return []


def _are_of_several_splits(files: list[Path]) -> bool:
    """Whether at one place of their paths below the folder of all, from the front or from the end, some name one split
    and some another."""
    shared = os.path.commonpath([file.parent for file in files])
    paths = [(*file.relative_to(shared).parent.parts, stem_of(file)) for file in files]
    places = chain(zip_longest(*paths, fillvalue=""), zip_longest(*(path[::-1] for path in paths), fillvalue=""))
    return any(len({named for name in set(place) if (named := _splits_in(name))}) > 1 for place in places)


def _splits_in(name: str) -> frozenset[str]:
    """The splits that the words of a name are.

    >>> sorted(_splits_in("en_Train-2")), sorted(_splits_in("train-dev")), sorted(_splits_in("latest"))
    (['train'], ['dev', 'train'], [])
    """
    words = set(WORD.findall(name.lower()))
    return frozenset(split for split in SPLITS if words & {*names_of(split)})


def _chosen(config: TaskConfig, wanted: Iterable[str], find: Callable[[Iterable[str]], Rows | None]) -> dict[str, Rows]:
    splits, owned = {}, {str(role): name for role, name in config.splits.items()}
    for role in wanted:
        own = owned.get(role)
        rows = find([own] if own else free_names(role, config))
        if rows is not None:
            splits[role] = rows
        elif own:
            raise ValueError(f"task.splits: {config.path} has no split {own!r}")
    return splits


def free_names(role: str, config: TaskConfig) -> list[str]:
    """The names that the split of a role goes by, but for those that are another's.

    >>> free_names("dev", TaskConfig(extra_tests=["validation"]))
    ['dev', 'valid', 'val']
    """
    others = {*config.splits.values(), *config.extra_tests} - {role}
    return [name for name in names_of(role) if name not in others]


def _read_later(files: list[Path], key: str) -> Rows | None:
    return partial(rows_of, files, key) if files else None


def _given(rows: Iterable[Record]) -> Rows:
    return lambda: rows
