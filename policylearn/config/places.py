"""Settings that name a place: a file, a folder, a pattern of files, or a name on the Hub."""

import os
from collections.abc import Mapping
from glob import glob, has_magic
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo

from policylearn.config.strict import section_of

PLANTED, PLANTED_CONTEXT, PLANTED_FACTS = "planted", "planted-context", "planted-facts"
BENCHMARKS = (PLANTED, PLANTED_CONTEXT, PLANTED_FACTS)
"""Synthetic tasks and corpora by name, which are no places."""
MARK = "a place"


def _named(place: str) -> str:
    """Refuse a name that is none, of which a path makes the current folder."""
    if not place.strip():
        raise ValueError("is empty: give a path or a name, or leave it out")
    return place


Place = Annotated[str, AfterValidator(_named), MARK]
"""A setting whose value is a path, or a name on the Hub."""


def find_beside(tree: dict[str, Any], model: type[BaseModel], file: Path) -> None:
    """Make what a config file says of places hold from the current folder: relative to that, or, where nothing is there
    and something is beside the file, relative to the file. The tree is changed in place.

    Args:
        tree: of the file, not yet checked.
        model: whose fields it is to have.
        file: the config file.
    """
    for name, field in model.model_fields.items():
        value, section = tree.get(name), section_of(field)
        if section is not None and isinstance(value, dict):
            mapping = field.annotation is not section
            for part in value.values() if mapping else [value]:
                if isinstance(part, dict):
                    find_beside(part, section, file)
        elif name in tree and is_place(field):
            tree[name] = _beside(value, file)


def places_of(config: BaseModel) -> dict[str, str]:
    """Every place that is set, by its dotted name; benchmarks are none.

    >>> from policylearn.config import Config
    >>> places_of(Config.model_validate({"model": {"name": "bert"}, "task": {"path": "my/task"}}))
    {'model.name': 'bert', 'task.path': 'my/task'}
    """
    found: dict[str, str] = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            found |= {f"{name}.{inner}": place for inner, place in places_of(value).items()}
        elif isinstance(value, str) and value not in BENCHMARKS and is_place(field):
            found[name] = value
    return found


def not_found(name: str) -> str:
    """Where a relative path was looked for, as a message goes on: " in the current folder, …"; and what else may be."""
    if name.startswith("~"):
        return f"; ~ is for the shell to write out, which it does not behind '=': {Path(name).expanduser()}"
    if Path(name).is_absolute() or "://" in name:
        return ""
    return f" in the current folder, {Path.cwd()} (nor, where a config file names it, in the folder of that file)"


def no_file(place: str) -> str:
    """Why a place that is to be a file is none, as a message goes on."""
    path = Path(place)
    if path.is_dir():
        return "is a folder"
    if path.exists():  # /dev/null, or the pipe that a shell makes of <(command)
        return "is no file but a device or pipe, which cannot be read again: write to a file what it gives"
    return f"does not exist{not_found(place)}"


def file_above(path: Path) -> Path | None:
    """The file that a path lies below, where no folder can be; None: there is none."""
    return next((parent for parent in path.parents if parent.is_file()), None)


def check_folder(path: Path, shown: str) -> None:
    """That a path can be a folder. ValueError: it is a file, lies below one, is a link that leads nowhere, or would be
    called ~.

    Args:
        path: it need not exist.
        shown: how it was given.
    """
    if path.parts[:1] == ("~",):
        raise ValueError(f"{shown}: ~ is for the shell to write out: give {path.expanduser()}")
    if above := file_above(path):
        raise ValueError(f"{shown} cannot be written: {above} is a file")
    if path.is_file():
        raise ValueError(f"{shown} is a file: name a folder")
    if path.is_symlink() and not path.exists():
        raise ValueError(f"{shown} is a link to {path.readlink()}, which is not there: make that folder")


def is_place(field: FieldInfo) -> bool:
    """Whether a setting is a place, may be one, or is a mapping to some."""
    return _marked(field.annotation) or MARK in field.metadata


def _marked(kind: Any) -> bool:
    return MARK in getattr(kind, "__metadata__", ()) or any(map(_marked, get_args(kind)))


def _beside(value: Any, file: Path) -> Any:
    if isinstance(value, Mapping):
        return {name: _beside(place, file) for name, place in value.items()}
    if not isinstance(value, str) or value in ("", *BENCHMARKS) or "://" in value or _is_there(value):
        return value
    beside = os.path.join(file.parent, value)
    return beside if _is_there(beside) else value


def _is_there(path: str) -> bool:
    return bool(glob(path, recursive=True)) if has_magic(path) else os.path.exists(os.path.expanduser(path))
